"""Tells twistd of the `smtp-gateway` subcommand; names its module by a string, so that listing plugins imports nothing of ours."""

from twisted.application.service import ServiceMaker

gateway = ServiceMaker("SMTP gateway", "gateway.service", "Account-linked SMTP submission.", "smtp-gateway")
