"""Tells twistd of its subcommand `smtp-gateway`; a string names the module, so that listing plugins imports nothing of ours."""

from twisted.application.service import ServiceMaker

gateway = ServiceMaker("SMTP gateway", "gateway.service", "Account-linked SMTP submission.", "smtp-gateway")
