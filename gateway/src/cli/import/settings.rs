//! LiteLLM's other sections: what has a counterpart is carried over, everything else is named with a reason.

use super::draft::Draft;
use serde_json::{Map, Value};

/// `litellm_settings`, `router_settings`, `general_settings`, `environment_variables` and what else there is.
pub fn read(root: &Map<String, Value>, draft: &mut Draft) {
    let nothing = Map::new();
    let section = |name: &str| root.get(name).and_then(Value::as_object).unwrap_or(&nothing);
    for (name, value) in root {
        match name.as_str() {
            "model_list" => {}
            "litellm_settings" | "router_settings" | "general_settings" | "environment_variables" => {
                if !value.is_object() && !value.is_null() {
                    draft.leave(name, "it is not a section");
                }
            }
            "include" => draft.leave(name, "import the included files one by one"),
            _ => draft.leave(name, why(name)),
        }
    }
    for name in section("environment_variables").keys() {
        let text = "set it in the environment of the service; its value was neither read nor written";
        draft.leave(format!("environment_variables.{name}"), text);
    }
    router(section("router_settings"), draft);
    litellm(section("litellm_settings"), draft);
    general(section("general_settings"), draft);
}

fn router(section: &Map<String, Value>, draft: &mut Draft) {
    for (name, value) in section {
        let setting = format!("router_settings.{name}");
        match name.as_str() {
            "timeout" => timeout(&setting, value, draft),
            "model_group_alias" => aliases(&setting, value, draft),
            _ => draft.leave(setting, why(name)),
        }
    }
}

fn litellm(section: &Map<String, Value>, draft: &mut Draft) {
    for (name, value) in section {
        let setting = format!("litellm_settings.{name}");
        match name.as_str() {
            "request_timeout" => timeout(&setting, value, draft),
            "max_budget" => budget(section, value, draft),
            // Read with the budget that it belongs to.
            "budget_duration" if section.contains_key("max_budget") => {}
            _ => draft.leave(setting, why(name)),
        }
    }
}

fn general(section: &Map<String, Value>, draft: &mut Draft) {
    for (name, value) in section {
        let setting = format!("general_settings.{name}");
        match name.as_str() {
            "master_key" if !value.is_null() => {
                draft.keys_required = true;
                draft.notes.push("clients need a key of their own: `sluice keys create --name NAME`".into());
                let text = "there is no key that opens everything: `[keys] required = true` was written; the admin listener is \
                            on loopback, and `[server] admin_token_env` opens it elsewhere";
                draft.leave(setting, text);
            }
            "global_max_parallel_requests" => match value.as_u64().filter(|number| *number > 0) {
                Some(number) => draft.in_flight = Some(number),
                None => draft.leave(setting, "it is not a number of requests"),
            },
            _ => draft.leave(setting, why(name)),
        }
    }
}

/// The router's own timeout is read first and counts.
fn timeout(setting: &str, value: &Value, draft: &mut Draft) {
    let seconds = super::litellm::number(value).filter(|text| !text.starts_with('-'));
    let millis = seconds.as_deref().and_then(|text| {
        let seconds = text.parse::<f64>().ok().filter(|seconds| (0.001..1e6).contains(seconds))?;
        Some((seconds * 1_000.0).round() as u64)
    });
    match millis {
        _ if draft.total.is_some() => draft.leave(setting, "`router_settings.timeout` was taken, which comes first"),
        Some(millis) if millis % 1_000 == 0 => draft.total = Some(format!("{}s", millis / 1_000)),
        Some(millis) => draft.total = Some(format!("{millis}ms")),
        None => draft.leave(setting, "it is not a number of seconds"),
    }
}

fn budget(section: &Map<String, Value>, value: &Value, draft: &mut Draft) {
    let setting = "litellm_settings.max_budget";
    let window = match section.get("budget_duration") {
        None | Some(Value::Null) => Some("total"),
        Some(duration) => match duration.as_str().unwrap_or_default() {
            "1h" | "60m" | "3600s" => Some("hour"),
            "1d" | "24h" | "86400s" => Some("day"),
            "7d" | "1w" => Some("week"),
            "30d" | "31d" | "1mo" => Some("month"),
            _ => None,
        },
    };
    let amount = super::litellm::number(value).filter(|text| policies::NanoDollars::parse(text).is_ok());
    match (amount, window) {
        (Some(amount), Some(window)) => draft.budget = Some((amount, window)),
        (None, _) => draft.leave(setting, "it is not an amount of dollars"),
        (Some(_), None) => {
            let text =
                "its duration is not an hour, a day, a week (7d) or a month (30d, 1mo): the windows of `[[budgets]]`";
            draft.leave(setting, text);
        }
    }
}

/// An alias becomes a model of its own at the same provider.
fn aliases(setting: &str, value: &Value, draft: &mut Draft) {
    let Some(aliases) = value.as_object() else {
        draft.leave(setting, "it is not a table of names");
        return;
    };
    for (alias, target) in aliases {
        let name = target.as_str().or_else(|| target.get("model")?.as_str()).unwrap_or_default();
        let setting = format!("{setting}.{alias}");
        let target = draft.models.iter().find(|model| model.name == name).cloned();
        match target {
            _ if draft.models.iter().any(|model| model.name == *alias) => {
                draft.leave(setting, "a model of that name is in `model_list`");
            }
            _ if alias.is_empty() || super::litellm::TAKEN.contains(&alias.as_str()) => {
                draft.leave(setting, "this name lets Sluice choose");
            }
            Some(model) => draft.models.push(super::draft::Model { name: alias.clone(), ..model }),
            None => draft.leave(setting, "the model that it means was not carried over"),
        }
    }
}

/// Why a setting has no counterpart.
pub fn why(name: &str) -> &'static str {
    match name {
        "rpm" | "tpm" | "tpm_limit" | "rpm_limit" | "default_tpm" | "default_rpm" => {
            "requests and tokens per minute are not limited for a deployment; `[limits]` is for the whole gateway"
        }
        "max_parallel_requests" | "default_max_parallel_requests" => {
            "it is a limit of a deployment; `[limits] in_flight` is one of the whole gateway"
        }
        "timeout" | "stream_timeout" => "clocks are the same for all providers: `[timeouts]`",
        "num_retries" | "max_retries" | "retry_policy" | "retry_after" | "model_group_retry_policy" => {
            "a failed target is followed by the next one of the plan, not tried again"
        }
        "allowed_fails" | "cooldown_time" | "allowed_fails_policy" | "disable_cooldowns" | "enable_pre_call_checks" => {
            "every provider has a breaker, which needs no setting"
        }
        "fallbacks"
        | "default_fallbacks"
        | "context_window_fallbacks"
        | "content_policy_fallbacks"
        | "max_fallbacks" => {
            "`auto` goes along `[router] local` and `hosted` in their order; a request that names a model gets that model"
        }
        "routing_strategy" | "routing_strategy_args" | "weight" | "order" => {
            "load is not spread over deployments: `auto` goes along `[router] hosted` in its order"
        }
        "drop_params" | "modify_params" | "additional_drop_params" | "allowed_openai_params" => {
            "parameters are passed on as the client sent them"
        }
        "callbacks"
        | "success_callback"
        | "failure_callback"
        | "service_callbacks"
        | "turn_off_message_logging"
        | "redact_user_api_key_info"
        | "langfuse_default_tags"
        | "alerting"
        | "alerting_threshold"
        | "alerting_args" => {
            "metrics are at `/metrics` of the admin listener, traces go to `[telemetry] otlp_endpoint`"
        }
        "cache"
        | "cache_params"
        | "enable_caching_on_provider_specific_optional_params"
        | "cache_responses"
        | "caching_groups" => "answers are not cached",
        "database_url"
        | "database_connection_pool_limit"
        | "database_connection_timeout"
        | "store_model_in_db"
        | "store_prompts_in_spend_logs"
        | "disable_spend_logs"
        | "allow_requests_on_db_unavailable" => {
            "the ledger is a SQLite file of its own: `[ledger] path`; keys and spend of the database are not taken over"
        }
        "redis_host" | "redis_port" | "redis_password" | "redis_url" | "redis_db" => {
            "there is one process and no Redis"
        }
        "budget_duration" => "it belongs to `max_budget`, which is not set",
        "guardrails" | "prompt_guards" => "there are no detectors on content yet",
        "default_internal_user_params"
        | "default_team_settings"
        | "max_internal_user_budget"
        | "internal_user_budget_duration"
        | "max_end_user_budget"
        | "upperbound_key_generate_params"
        | "default_key_generate_params"
        | "team_settings"
        | "litellm_key_header_name" => {
            "users and teams are not configured here: a key has a team, a user and a budget (`sluice keys create`), and \
             `[[budgets]]` has scopes"
        }
        "enable_jwt_auth" | "litellm_jwtauth" | "custom_auth" | "enable_oauth2_auth" | "allowed_ips"
        | "ui_access_mode" | "public_routes" | "allowed_routes" | "admin_only_routes" => {
            "callers are known by virtual keys only"
        }
        "set_verbose" | "json_logs" | "detailed_debug" | "debug_level" => "`[telemetry] log` and `log_format`",
        "temperature"
        | "max_tokens"
        | "top_p"
        | "top_k"
        | "stop"
        | "seed"
        | "presence_penalty"
        | "frequency_penalty"
        | "max_completion_tokens"
        | "response_format"
        | "reasoning_effort"
        | "thinking"
        | "stream"
        | "user" => "parameters are the client's: none is added to a request",
        "organization" | "extra_headers" | "headers" | "default_headers" | "extra_body" | "extra_query" => {
            "nothing is added to the provider's requests but its key"
        }
        "mcp_servers"
        | "mcp_aliases"
        | "vector_store_registry"
        | "search_tools"
        | "files_settings"
        | "finetune_settings" => "only chat and completions are served",
        "credential_list" | "litellm_credential_name" => "keys are environment variables: `api_key_env`",
        name if name.starts_with("aws_") || name.starts_with("vertex_") || name.starts_with("azure_") => {
            "a provider's key is one environment variable: `api_key_env`"
        }
        "client_id" | "client_secret" | "tenant_id" => "a provider's key is one environment variable: `api_key_env`",
        "tags" | "access_groups" | "team_id" | "team_public_model_name" => {
            "which models a key may use is said with the key: `sluice keys create --models`"
        }
        name if name.starts_with("supports_") => "what a provider can do is said for all its models: `capabilities`",
        name if name.contains("cost") => "this part of a price is not one that the gateway knows",
        _ => "it has no counterpart",
    }
}
