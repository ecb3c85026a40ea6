"""Django itself, run as a program of its own: `python django_project.py URL` makes its tables and users, and says what it made.

URL is SQLAlchemy's. Prints a JSON object, login to stored hash. Each user has the password "p\u00e4ssword <hasher>".
"""

import json
import sys
from typing import Any
from urllib.parse import urlsplit

import django  # type: ignore[import-untyped]
from django.conf import settings  # type: ignore[import-untyped]

HASHERS = (
    "PBKDF2PasswordHasher",
    "PBKDF2SHA1PasswordHasher",
    "Argon2PasswordHasher",
    "BCryptPasswordHasher",
    "BCryptSHA256PasswordHasher",
    "ScryptPasswordHasher",
)


def database(url: str) -> dict[str, Any]:
    """Django's way to say it."""
    parts = urlsplit(url)
    if parts.scheme == "sqlite":
        return {"ENGINE": "django.db.backends.sqlite3", "NAME": parts.path[1:]}
    return {
        "ENGINE": f"django.db.backends.{parts.scheme}",
        "NAME": parts.path[1:],
        "USER": parts.username,
        "PASSWORD": parts.password,
        "HOST": parts.hostname,
        "PORT": parts.port,
    }


def main(url: str) -> None:
    if url.startswith("mysql"):
        import pymysql

        pymysql.version_info = (2, 2, 4, "final", 0)  # what Django wants of mysqlclient
        pymysql.install_as_MySQLdb()
    settings.configure(
        DATABASES={"default": database(url)},
        INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes"],
        PASSWORD_HASHERS=[f"django.contrib.auth.hashers.{hasher}" for hasher in HASHERS],
        DEFAULT_AUTO_FIELD="django.db.models.AutoField",
    )
    django.setup()
    from django.contrib.auth.hashers import get_hashers, make_password  # type: ignore[import-untyped]
    from django.contrib.auth.models import User  # type: ignore[import-untyped]
    from django.core.management import call_command  # type: ignore[import-untyped]

    call_command("migrate", verbosity=0)
    users = []
    for hasher in get_hashers():
        stored = make_password(f"p\u00e4ssword {hasher.algorithm}", hasher=hasher.algorithm)
        users.append(User(username=hasher.algorithm, email=f"{hasher.algorithm}@Example.com", password=stored))
    users.append(User(username="left", email="left@example.com", password=users[0].password, is_active=False))
    users.append(User(username="nobody", email="nobody@example.com", password=make_password(None)))
    users.append(User(username="no mail", email="", password=users[0].password))
    User.objects.bulk_create(users)
    print(json.dumps({user.email: user.password for user in users}))  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1])
