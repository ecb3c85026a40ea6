"""The commented gateway.toml that `smtp-gateway init` writes: the settings that a newcomer touches."""

SAMPLE = """\
# Settings of the SMTP gateway. Everything that is not here has its default: see the README for all of them, and
# `smtp-gateway config show` for what is in effect. Paths are relative to this file. Sizes: "25MiB". Times: "15m".
# "${NAME}" is taken from the environment; a secret x may also be given as x_file = "path".

[server]
hostname = "localhost"            # the name of this server in its greeting and in Received
state_dir = "var"                 # keys, the self-signed certificate

[[listen]]                        # STARTTLS; the port of mail programs is 587
address = "127.0.0.1"             # "0.0.0.0" or "::" for everybody
port = 2587
security = "starttls"

[[listen]]                        # TLS from the first octet; the port of mail programs is 465
address = "127.0.0.1"
port = 2465
security = "tls"

# [tls]                           # left out: a self-signed certificate is made
# certificate = "fullchain.pem"
# key = "privkey.pem"

[accounts]                        # your product's login table: read, never written
url = "sqlite:///var/accounts.db" # or "postgresql://gateway:${DB_PASSWORD}@host/app", "mysql://..."
# preset = "django"               # "django", "laravel", "devise" or "wordpress" fill in all that follows
# table = "users"                 # as here without a preset; may be a view, may have a schema: "app.users"

# [accounts.columns]
# id = "id"
# login = "email"
# password = "password_hash"
# active = "is_active"            # "not:banned" negates, "null:deleted_at" means active when NULL, "" for none
# max_message_size = "max_message_size" # an account's own limit in octets; the demo table has such a column

[limits]
message_size = "25MiB"
recipients = 100                  # a message

[relay]                           # where mail goes next, tried in order
next_hop = ["maildir:var/mail"]
# next_hop = ["smtp://user:${SMARTHOST_PASSWORD}@smart.example.net:587"]

[http]                            # /metrics, /healthz, /readyz
address = "127.0.0.1"
port = 8025

[log]
format = "console"                # "console" or "json"
"""
