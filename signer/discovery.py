"""`GET /v1/discovery`: what `ca-login` needs to begin."""

from collections.abc import Callable
from datetime import datetime

from flask import Blueprint, Response

from ca.authority import Authority
from ca.issuers import ClientSettings
from ca.messages import Discovery, DiscoveryClient, DiscoveryIssuer
from signer.answers import json_answer
from signer.openapi import describe


def blueprint(authority: Authority, clock: Callable[[], datetime]) -> Blueprint:
    """Return the route of discovery."""
    routes = Blueprint("discovery", __name__)
    config = authority.config
    issuers = tuple(
        DiscoveryIssuer(
            name=issuer.name,
            url=issuer.url,
            clients=tuple(map(_client, issuer.clients)),
        )
        for issuer in config.issuers
    )

    @routes.get("/v1/discovery")
    @describe(gives=Discovery)
    def discover() -> Response:
        """Say what a client needs to begin."""
        return json_answer(
            Discovery(
                origin=config.origin,
                issuers=issuers,
                host_patterns=config.host_patterns,
                server_time=int(clock().timestamp()),
            )
        )

    return routes


def _client(client: ClientSettings) -> DiscoveryClient:
    return DiscoveryClient(
        id=client.id,
        flow=client.flow,
        binding=client.binding,
        scopes=client.scopes,
        redirect_host=client.redirect_host,
        redirect_ports=client.redirect_ports,
        public_secret=client.public_secret,
        parameters=dict(client.parameters),
    )
