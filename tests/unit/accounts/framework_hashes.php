<?php
// What PHP, Laravel and WordPress store for a password. Reads JSON lists of base64 passwords; prints, for each, name to hash.

// Portable hashes as the PasswordHash class of openwall.com/phpass makes them, which WordPress used until 6.8
function phpass(string $password, string $setting): string
{
    $itoa64 = './0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
    $digest = md5(substr($setting, 4, 8) . $password, true);
    for ($count = 1 << strpos($itoa64, $setting[3]); $count > 0; $count--) {
        $digest = md5($digest . $password, true);
    }
    $encoded = '';
    for ($i = 0; $i < 16; ) {
        $value = ord($digest[$i++]);
        $encoded .= $itoa64[$value & 63];
        $value |= $i < 16 ? ord($digest[$i]) << 8 : 0;
        $encoded .= $itoa64[($value >> 6) & 63];
        if ($i++ >= 16) {
            break;
        }
        $value |= $i < 16 ? ord($digest[$i]) << 16 : 0;
        $encoded .= $itoa64[($value >> 12) & 63];
        if ($i++ >= 16) {
            break;
        }
        $encoded .= $itoa64[($value >> 18) & 63];
    }
    return substr($setting, 0, 12) . $encoded;
}

$cheap = ['memory_cost' => 1024, 'time_cost' => 1, 'threads' => 1];
$all = [];
foreach (json_decode(stream_get_contents(STDIN)) as $encoded) {
    $password = base64_decode($encoded);
    $hashes = [];
    if (!str_contains($password, "\0")) {  // PHP refuses a NUL in a bcrypt password
        $hashes['bcrypt'] = password_hash($password, PASSWORD_BCRYPT, ['cost' => 4]);
    }
    $hashes['argon2id'] = password_hash($password, PASSWORD_ARGON2ID, $cheap);
    $hashes['argon2i'] = password_hash($password, PASSWORD_ARGON2I, $cheap);
    $wordpress = addslashes(trim($password));  // wp_magic_quotes and wp_authenticate, before wp_hash_password sees it
    $hashes['wordpress_phpass'] = phpass($wordpress, '$P$B' . 'abcdefgh');
    $prepared = base64_encode(hash_hmac('sha384', trim($wordpress), 'wp-sha384', true));
    $hashes['wordpress_bcrypt'] = '$wp' . password_hash($prepared, PASSWORD_BCRYPT, ['cost' => 4]);
    $all[] = $hashes;
}
echo json_encode($all);
