"""Every name of MiniStack that the glue builds on, declared once: the only way into its modules.

A seam stands for a module and gives only what is declared here, so that what another version of MiniStack
must still have can be read in one place, is checked before the host serves, and can be asked of any version:
``python -m dropforge_local.glue.seams`` prints what the installed one has.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import json
from collections.abc import Iterator
from functools import reduce
from importlib.metadata import version
from typing import Any

from dropforge_local.errors import SeamChanged

MINISTACK_VERSION = "1.5.33"


class Seam:
    """One module of another package, imported when it is first used: MiniStack's read the environment then.

    Reading gives the module's attribute of now, and assigning puts another in its place there. A name may be
    followed by the leading parameters that the function must take, and may lead into an attribute.

    Args:
        module: its full name.
        reads: what the glue uses.
        replaces: what the glue puts something of its own in the place of.
        relies_on: what the glue doesn't use itself, but what it does would have no effect without; or
            what others use who prove roles and state machines by the host's own rules.

    Raises:
        AttributeError: on a name that isn't declared, or on assigning to one that is only read.
    """

    __slots__ = ("seam_module", "seam_names", "seam_relied_on", "seam_replaced")
    seam_module: str
    seam_names: dict[str, list[str] | None]
    seam_replaced: set[str]
    seam_relied_on: set[str]

    def __init__(
        self,
        module: str,
        *,
        reads: list[str] | None = None,
        replaces: list[str] | None = None,
        relies_on: list[str] | None = None,
    ) -> None:
        given = (*(reads or []), *(replaces or []), *(relies_on or []))
        object.__setattr__(self, "seam_module", module)
        object.__setattr__(self, "seam_names", {_name(each): _parameters(each) for each in given})
        object.__setattr__(self, "seam_replaced", {_name(each) for each in replaces or []})
        object.__setattr__(self, "seam_relied_on", {_name(each) for each in relies_on or []})

    def __getattr__(self, name: str) -> Any:
        if name not in self.seam_names:
            raise AttributeError(
                f"{self.seam_module}.{name} is no declared seam: declare it in {__name__}.",
                name=name,
                obj=self,
            )
        return getattr(importlib.import_module(self.seam_module), name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self.seam_replaced:
            raise AttributeError(
                f"{self.seam_module}.{name} is not declared as replaced: declare it in {__name__}.",
                name=name,
                obj=self,
            )
        setattr(importlib.import_module(self.seam_module), name, value)

    def seam_problems(self) -> Iterator[str]:
        """What the installed version lacks of this seam, a line each."""
        try:
            module = importlib.import_module(self.seam_module)
        except ImportError as error:
            yield f"{self.seam_module} can't be imported: {error}"
            return
        for name, parameters in self.seam_names.items():
            try:
                found = _attribute(module, name)
            except AttributeError:
                yield f"{self.seam_module}.{name} is gone"
                continue
            if parameters is None:
                continue
            taken = list(inspect.signature(found).parameters)[: len(parameters)] if callable(found) else None
            if taken != parameters:
                yield f"{self.seam_module}.{name} takes {taken}, not {parameters}"

    def seam_sources(self) -> Iterator[tuple[str, str]]:
        """(name, digest of its source) of each function and class that the installed version has."""
        try:
            module = importlib.import_module(self.seam_module)
        except ImportError:
            return
        for name in self.seam_names:
            found = getattr(module, name, None)
            if inspect.isfunction(found) or inspect.isclass(found):
                source = inspect.getsource(found)
                yield f"{self.seam_module}.{name}", hashlib.sha256(source.encode()).hexdigest()


def _name(declared: str) -> str:
    return declared.partition("(")[0]


def _parameters(declared: str) -> list[str] | None:
    _, opened, listed = declared.removesuffix(")").partition("(")
    return [each for each in listed.split(", ") if each] if opened else None


def _attribute(module: Any, path: str) -> Any:
    return reduce(getattr, path.split("."), module)


app = Seam(
    "ministack.app",
    reads=["app", "_build_persistence_save_dict", "SERVICE_HANDLERS", "SERVICE_REGISTRY"],
    replaces=["pin_request_origin(source_ip, secure_transport)", "save_all(services)"],
    relies_on=["_dispatch_service_request(method, path, headers, body)"],
)
concurrency = Seam(
    "ministack.core.concurrency",
    reads=["run_reentrant"],
)
iam_actions = Seam(
    "ministack.core.iam_actions",
    reads=["access_denied_response", "identity_denial_message"],
    replaces=[
        "dynamodb_service_context(body)",
        "extract_resource_arn(service, method, path, headers, body, query_params, region, account_id)",
    ],
)
iam_evaluator = Seam(
    "ministack.core.iam_evaluator",
    reads=[
        "AuthError",
        "caller_arn()",
        "EvalContext",
        "evaluate",
        "_gather_role_policies",
        "_permissions_boundary",
        "resolve_caller_identity",
        "_role_name_from_assumed_arn",
    ],
    replaces=["enforce(access_key_id, iam_action, service, region)"],
    relies_on=["fnmatch_iam", "fnmatch_iam_cs", "parse_policy_document"],
)
lambda_runtime = Seam(
    "ministack.core.lambda_runtime",
    reads=["acquire_worker", "execution_credentials", "release_worker", "reset"],
    replaces=["_worker_class_for(config)"],
    relies_on=["kill_workers", "_lock", "_workers"],
)
persistence = Seam(
    "ministack.core.persistence",
    reads=["_json_default", "_state_format_version"],
)
responses = Seam(
    "ministack.core.responses",
    reads=[
        "AccountRegionScopedDict",
        "_BOTOCORE_NAME",
        "error_response_json",
        "get_account_id",
        "get_region",
        "json_response",
        "new_uuid",
        "request_scope",
        "set_request_account_id",
        "set_request_region",
    ],
    replaces=["_service_model(service)"],
)
router = Seam(
    "ministack.core.router",
    reads=["extract_access_key_id", "SERVICE_PATTERNS"],
    relies_on=["extract_region"],
)
apigateway_v1 = Seam(
    "ministack.services.apigateway_v1",
    reads=[
        "_api_key_from_request(headers)",
        "_documentation_parts",
        "find_api_scope",
        "_gateway_responses",
        "_put_gateway_response(api_id, response_type, data)",
        "_put_integration(api_id, resource_id, http_method, data)",
        "_put_integration_response(api_id, resource_id, http_method, status_code, data)",
        "_put_method_response(api_id, resource_id, http_method, status_code, data)",
        "_resolve_api_key(value)",
        "_rest_apis",
        "_restore_child_store",
        "_stages_v1",
    ],
    replaces=[
        "_authorizers_v1",
        "_build_lambda_event_v1(api_id, stage_name, stage, resource, request_path, method, headers)",
        "_create_deployment(api_id, data)",
        "_delete_deployment(api_id, deployment_id)",
        "_delete_rest_api(api_id)",
        "get_state()",
        "_handle_execute_in_scope(api_id, stage_name, method, path)",
        "_import_operation(api_id, resource_id, http_method, operation, scheme_map)",
        "_import_rest_api(spec, base_data)",
        "_invoke_mock_v1(integration)",
        "load_persisted_state(data)",
        "method_authorization_type(api_id, stage_name, method, path)",
        "_models",
        "_request_validators",
        "reset()",
        "_resources",
        "_update_method(api_id, resource_id, http_method, data)",
    ],
)
budgets = Seam(
    "ministack.services.budgets",
    reads=["_create_budget(data)", "_delete_budget(data)"],
)
cloudformation = Seam(
    "ministack.services.cloudformation",
    reads=["_stacks", "_stacks._data"],
)
changesets = Seam(
    "ministack.services.cloudformation.changesets",
    replaces=[
        "_apply_transforms(template, provided_params, previous_params)",
        "_resolve_parameters(template, provided_params, previous_params)",
    ],
)
engine = Seam(
    "ministack.services.cloudformation.engine",
    reads=["_transform_parameters(template, provided_params, previous_params)"],
    replaces=[
        "_apply_transforms(template, provided_params, previous_params)",
        "_extract_deps(resource_def, all_resource_names)",
        "_resolve_parameters(template, provided_params, previous_params)",
    ],
)
handlers = Seam(
    "ministack.services.cloudformation.handlers",
    replaces=[
        "_apply_transforms(template, provided_params, previous_params)",
        "_resolve_parameters(template, provided_params, previous_params)",
    ],
)
provisioners = Seam(
    "ministack.services.cloudformation.provisioners",
    reads=[
        "_apigw_rest_api_attrs",
        "_apigw_rest_api_create(logical_id, props, stack_name)",
        "_apigw_rest_api_update(physical_id, old_props, new_props, stack_name)",
        "_physical_name",
        "_RESOURCE_HANDLERS",
    ],
    replaces=["_cw_metric_alarm_record(name, props)", "_sfn_definition(props)"],
)
stacks = Seam(
    "ministack.services.cloudformation.stacks",
    replaces=["_runs_on_worker_thread(resource_type)"],
)
cloudwatch = Seam(
    "ministack.services.cloudwatch",
    reads=[
        "_alarms",
        "_calc_stats",
        "_composite_alarms",
        "_dims_key",
        "_error",
        "_evaluate_all_alarms",
        "_evaluate_parent_alarms",
        "_metric_bucket",
        "_metrics",
        "_p",
        "_record_history",
        "_stat_value",
    ],
    replaces=[
        "_dispatch_alarm_actions(alarm, old_state, new_state, reason)",
        "_evaluate_alarm(alarm)",
        "_put_metric_alarm(params, cbor_data, is_cbor, is_json)",
        "record_metric(namespace, metric_name, value, unit, dimensions)",
        "_set_alarm_state(params, cbor_data, is_cbor, is_json)",
    ],
    relies_on=["_point_stats"],
)
cloudwatch_logs = Seam(
    "ministack.services.cloudwatch_logs",
    reads=["_create_log_group", "_create_log_stream"],
    replaces=["_put_log_events(data)"],
)
dynamodb = Seam(
    "ministack.services.dynamodb",
    reads=["_tables"],
    replaces=[
        "_batch_execute_statement(data)",
        "_batch_write_item(data)",
        "_condition_syntax_error(expr, slot)",
        "_delete_item(data)",
        "_execute_statement(data)",
        "_execute_transaction(data)",
        "get_state()",
        "load_persisted_state(data)",
        "_put_item(data)",
        "_restore_state(data)",
        "_tokenize(expr)",
        "_transact_write_items(data)",
        "_update_item(data)",
    ],
)
eventbridge = Seam(
    "ministack.services.eventbridge",
    reads=["_parse_rate_seconds(expr)", "_put_events"],
    replaces=[
        "_dispatch_event(event, view)",
        "_dispatch_to_lambda(arn, payload)",
        "_invoke_target(target, event, rule)",
    ],
)
iam = Seam(
    "ministack.services.iam",
    reads=["_roles"],
)
kinesis = Seam("ministack.services.kinesis", reads=["_streams"])
lambda_svc = Seam(
    "ministack.services.lambda_svc",
    reads=[
        "_dynamodb_stream_positions",
        "_esm_backoff_until",
        "_ensure_reaper_thread",
        "_esms",
        "_execute_function_with_config_scope(func, event)",
        "_execution_record_for_config",
        "_externalize_code_zip",
        "_function_urls",
        "_functions",
        "_functions._data",
        "_get_func_record_for_ref",
        "_kinesis_positions",
        "_layers",
        "_prune_orphan_code_blobs",
        "_RESERVED_RUNTIME_ENV_VARS",
        "_resolve_layer_zip",
        "_route_async_failure",
        "_update_alias",
        "_xray_trace_id_for_invocation",
    ],
    replaces=[
        "_ACCOUNT_CONCURRENCY_CAP",
        "_effective_func_record_for_qualifier(func, qualifier)",
        "_emit_lambda_logs(func, request_id, log_text, error, duration_ms)",
        "_emit_lambda_metrics(function_name, duration_ms, error, throttle)",
        "_execute_function(func, event)",
        "_execute_function_warm(func, event, request_id)",
        "_poll_kinesis()",
        "get_state()",
        "invalidate_worker(func_name)",
        "invoke_async_with_retry(func, event)",
        "_probe_peak_memory_mb(func)",
        "reap_idle_workers()",
        "_restore_state(data)",
    ],
    relies_on=["_acquire_execution_slot"],
)
s3 = Seam(
    "ministack.services.s3",
    reads=["_buckets", "_parse_range(range_header, total)", "_range_error_xml", "_xml_body"],
    replaces=[
        "_fire_s3_event(bucket_name, key, event_name, size, etag)",
        "_get_object(bucket_name, key, headers, query_params)",
    ],
)
scheduler = Seam(
    "ministack.services.scheduler",
    reads=["_at_time_epoch", "_schedules", "_to_epoch"],
    replaces=["_SCHEDULE_TICK_INTERVAL"],
)
sqs = Seam(
    "ministack.services.sqs",
    reads=["_queues", "_refresh_counts(q)"],
)
stepfunctions = Seam(
    "ministack.services.stepfunctions",
    reads=[
        "_activities",
        "_apply_catcher",
        "_apply_input_path",
        "_apply_jsonata_arguments",
        "_apply_jsonata_output",
        "_apply_jsonata_template",
        "_apply_output_path",
        "_apply_parameters",
        "_apply_result_path",
        "_apply_result_selector",
        "_AWS_SDK_ERROR_CODE_OVERRIDES",
        "_AWS_SDK_ERROR_PREFIX",
        "_AWS_SDK_SERVICE_MAP",
        "_execute_pass",
        "_execute_wait",
        "_execution_version_arn",
        "_ExecutionError",
        "_executions",
        "_extract_lambda_ref",
        "_fail_state_error",
        "_find_matching_catcher",
        "_invoke_resource",
        "_jsonata_state_field",
        "_jsonata_wait_seconds",
        "_jsonata_wait_timestamp",
        "_map_runs",
        "_nested_start_execution_request",
        "_next_or_end",
        "_parse_ts",
        "_read_map_items",
        "_resolve_lambda_function_ref",
        "_resolve_params_obj",
        "_resolve_path_or_ctx",
        "_resolve_state_machine_arn",
        "_state_machine_aliases",
        "_state_machine_versions",
        "_state_machines",
        "_state_query_language",
        "_tags",
        "_validate_definition_jsonata",
    ],
    replaces=[
        "_add_event(execution, event_type, details)",
        "_apply_state_assign(state_def, raw_input, ctx, result, error_output)",
        "_call_lambda(func_ref, event)",
        "_create_state_machine(data)",
        "_delete_state_machine(data)",
        "_describe_execution(data)",
        "_describe_state_machine(data)",
        "_describe_state_machine_for_execution(data)",
        "_emit_execution_status_event(execution)",
        "_error_matches(error_equals, error)",
        "_execute_choice(state_def, raw_input, ctx)",
        "_get_execution_history(data)",
        "get_state()",
        "jsonata",
        "_list_executions(data)",
        "_run_execution(exec_arn)",
        "_run_sub_machine(states, start_at, input_data, execution, ctx)",
        "_send_task_failure(data)",
        "_send_task_heartbeat(data)",
        "_send_task_success(data)",
        "_start_execution(data)",
        "_start_sync_execution(data)",
        "_stop_execution(data)",
        "_update_state_machine(data)",
        "_validate_state_machine_definition(data)",
    ],
    relies_on=["_register_sfn_jsonata_functions"],
)
waf = Seam(
    "ministack.services.waf",
    reads=["_associate_web_acl(data)", "_disassociate_web_acl(data)", "_resolve_local_web_acl(web_acl_arn)"],
)


SEAMS = tuple(each for each in tuple(globals().values()) if isinstance(each, Seam))
"""All of MiniStack's."""

# SAM's translator, which takes a second to load and is loaded with the first template.
sam_apigateway = Seam("samtranslator.model.apigateway", replaces=["time"])
sam_translator = Seam(
    "samtranslator.translator.transform", replaces=["transform(input_fragment, parameter_values)"]
)


def problems(*seams: Seam) -> list[str]:
    """What the installed versions lack of the seams, a line each."""
    return [problem for seam in seams for problem in seam.seam_problems()]


def check() -> None:
    """Raise SeamChanged unless the installed MiniStack is the pinned one, with every name of every seam."""
    found, lacking = version("ministack"), problems(*SEAMS)
    if found != MINISTACK_VERSION or lacking:
        listed = "".join(f"\n  {problem}" for problem in lacking) or " None of its seams is broken."
        raise SeamChanged(
            f"The glue was written for MiniStack {MINISTACK_VERSION}; {found} is installed.{listed}\n"
            f"Install {MINISTACK_VERSION}, or mend what uses these names in dropforge_local.glue."
        )


def check_translator() -> None:
    """Raise SeamChanged unless SAM's translator has what the glue replaces in it."""
    if lacking := problems(sam_apigateway, sam_translator):
        raise SeamChanged(f"SAM's translator {version('aws-sam-translator')}: {'; '.join(lacking)}.")


if __name__ == "__main__":
    broken = problems(*SEAMS)
    digests = dict(digest for seam in SEAMS for digest in seam.seam_sources())
    print(json.dumps({"version": version("ministack"), "broken": broken, "sources": digests}))
