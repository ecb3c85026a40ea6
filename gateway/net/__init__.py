"""Parts of a network connection that both sides of the gateway use."""
