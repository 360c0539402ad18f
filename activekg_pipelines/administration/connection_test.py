"""Whether a sync would be able to read a source, and what to do where it would not."""

from __future__ import annotations

from activekg_pipelines.administration.schemas import ConnectionTest
from activekg_pipelines.connectors.models import Connector
from activekg_pipelines.connectors.store import stored_config
from activekg_pipelines.errors import EncryptionError, ObjectError, SourceError
from activekg_pipelines.services import Services
from activekg_pipelines.sources.config import SourceConfig
from activekg_pipelines.sources.probe import probe, warning_about
from activekg_pipelines.sources.registry import provider


def try_configuration(services: Services, kind: str, config: SourceConfig) -> ConnectionTest:
    """Test a configuration that is not registered; nothing is stored.

    Args:
        kind: name of the provider.
        config: with its secrets.

    Raises:
        InvalidConnector: the operator does not allow the source.
    """
    used = provider(kind)
    try:
        source = used.open(config, services.settings)
        try:
            found = probe(source)
        finally:
            source.close()
    except (SourceError, ObjectError) as error:
        proposal = used.propose(config, services.settings, error) if used.propose else None
        return ConnectionTest(
            status="error",
            error_type=error.code,
            message=error.message,
            fix=proposal.fix if proposal else error.fix,
            proposed=dict(proposal.changes) if proposal else None,
        )
    return ConnectionTest(
        status="success",
        message=f"Successfully connected to {used.place}",
        objects_found=found.objects,
        objects_found_is_lower_bound=found.is_lower_bound or None,
        warning=warning_about(found, config.location().prefix, used.title),
    )


def try_connector(services: Services, connector: Connector) -> ConnectionTest:
    """Test a registered connector with its stored credentials.

    Raises:
        InvalidConnector: the operator does not allow the source any more.
    """
    try:
        with services.database.transaction() as conn:
            secrets = services.connectors.secrets(conn, connector.id)
    except EncryptionError as error:
        return ConnectionTest(
            status="error",
            error_type="credentials_unreadable",
            message=error.message,
            fix=error.fix,
        )
    answer = try_configuration(services, connector.provider, stored_config(connector, secrets))
    if answer.status == "success":
        with services.database.transaction() as conn:
            services.connectors.resume_polls(conn, connector.id)
    return answer
