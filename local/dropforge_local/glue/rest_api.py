"""What API Gateway takes from an OpenAPI document and MiniStack leaves out: the gateway's own refusals."""

from __future__ import annotations

from typing import Any

from dropforge_local.glue.seams import require, require_parameters

# https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-swagger-extensions-gateway-responses.html
_EXTENSION = "x-amazon-apigateway-gateway-responses"


def install() -> None:
    """Import the document's gateway responses with the rest of it."""
    from ministack.services import apigateway_v1  # noqa: PLC0415

    require(apigateway_v1, "_import_rest_api", "_put_gateway_response")
    require_parameters(apigateway_v1._import_rest_api, "spec", "base_data")
    require_parameters(apigateway_v1._put_gateway_response, "api_id", "response_type", "data")
    import_rest_api = apigateway_v1._import_rest_api

    def import_with_gateway_responses(spec: dict[str, Any], base_data: Any = None) -> str:
        api_id: str = import_rest_api(spec, base_data)
        for response_type, data in (spec.get(_EXTENSION) or {}).items():
            status, _headers, body = apigateway_v1._put_gateway_response(api_id, response_type, data)
            if status >= 400:
                raise ValueError(f"The gateway response {response_type} can't be imported: {body!r}")
        return api_id

    apigateway_v1._import_rest_api = import_with_gateway_responses
