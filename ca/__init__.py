"""The certificate authority's core: no HTTP framework, no SSH client, no terminal."""
