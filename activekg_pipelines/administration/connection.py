"""Whether a sync would be able to read a source, as the answer that people and programs
get.
"""

from __future__ import annotations

from activekg_pipelines.administration.probe import fix_for, probe, warning_about
from activekg_pipelines.administration.services import AdminServices
from activekg_pipelines.administration.shapes import ConnectionTest
from activekg_pipelines.connectors.models import Connector, Credentials, S3Config
from activekg_pipelines.errors import EncryptionError, ObjectError, SourceError
from activekg_pipelines.s3.client import make_client


def try_configuration(services: AdminServices, config: S3Config) -> ConnectionTest:
    """Test a configuration that is not registered; nothing is stored.

    Raises:
        InvalidConnector: the endpoint is not on the operator's list.
    """
    credentials = Credentials(
        config.access_key_id.get_secret_value(), config.secret_access_key.get_secret_value()
    )
    return _try(services, config, credentials)


def try_connector(services: AdminServices, connector: Connector) -> ConnectionTest:
    """Test a registered connector with its stored credentials.

    Raises:
        InvalidConnector: the operator took the endpoint off the list.
    """
    try:
        credentials = services.connectors.credentials(connector.id)
    except EncryptionError as error:
        return ConnectionTest(
            status="error",
            error_type="credentials_unreadable",
            message=error.message,
            fix=fix_for(error),
        )
    answer = _try(services, connector, credentials)
    if answer.status == "success":
        services.connectors.resume_polls(connector.id)
    return answer


def _try(
    services: AdminServices, source: Connector | S3Config, credentials: Credentials
) -> ConnectionTest:
    client = make_client(source, credentials, services.settings)
    try:
        found = probe(client, source.bucket, source.prefix)
    except (SourceError, ObjectError) as error:
        return ConnectionTest(
            status="error", error_type=error.code, message=error.message, fix=fix_for(error)
        )
    finally:
        client.close()
    return ConnectionTest(
        status="success",
        message="Successfully connected to S3 bucket",
        objects_found=found.objects,
        objects_found_is_lower_bound=found.is_lower_bound or None,
        warning=warning_about(found, source.prefix),
    )
