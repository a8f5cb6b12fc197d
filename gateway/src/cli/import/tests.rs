use super::*;
use crate::config::{ModelSettings, ProviderKind, Settings};
use policies::{Location, Pricing};

fn read(yaml: &str) -> (Draft, Settings) {
    let draft = litellm::read(&parse(yaml).unwrap(), &PriceTable::bundled().unwrap());
    let toml = draft.toml("config.yaml");
    let settings = config::parse(&toml, Path::new(".")).unwrap_or_else(|error| unreachable!("{error}\n{toml}"));
    (draft, settings)
}

fn left(draft: &Draft) -> Vec<&str> {
    draft.left.iter().map(|left| left.setting.as_str()).collect()
}

fn model<'a>(settings: &'a Settings, name: &str) -> &'a ModelSettings {
    settings.models.iter().find(|model| model.name.as_str() == name).unwrap_or_else(|| unreachable!("{name} is there"))
}

#[test]
fn deployments_of_one_name_follow_each_other() {
    let (draft, settings) = read(
        "model_list:\n\
         - {model_name: gpt-4o, litellm_params: {model: openai/gpt-4o, api_key: os.environ/ONE}}\n\
         - {model_name: gpt-4o-2, litellm_params: {model: gpt-4o-mini}}\n\
         - {model_name: gpt-4o, litellm_params: {model: azure/my-4o, api_base: 'https://x.openai.azure.com/', api_version: '2024-10-21', api_key: os.environ/TWO, region_name: eu}}\n\
         - {model_name: auto, litellm_params: {model: gpt-4o}}\n",
    );
    assert_eq!(draft.hosted, ["gpt-4o", "gpt-4o-2", "gpt-4o-3", "auto-model"]);
    let order: Vec<&str> = settings.router.hosted.iter().map(|name| name.as_str()).collect();
    assert_eq!(order, draft.hosted);
    assert_eq!(model(&settings, "gpt-4o-3").upstream, "my-4o");
    let azure = settings.providers.iter().find(|provider| provider.name.as_str() == "azure").unwrap();
    assert_eq!((azure.spec.api_key_env.as_deref(), azure.region.as_deref()), (Some("TWO"), Some("eu")));
    assert_eq!(azure.spec.api_version.as_deref(), Some("2024-10-21"));
    // Two keys are two providers; without one LiteLLM's own variable counts.
    let keys: Vec<_> = settings.providers.iter().filter_map(|provider| provider.spec.api_key_env.as_deref()).collect();
    assert!(keys.contains(&"ONE") && keys.contains(&"OPENAI_API_KEY"), "{keys:?}");
    assert_eq!(draft.left, []);
}

#[test]
fn a_secret_is_never_written() {
    let yaml = "model_list:\n\
         - {model_name: a, litellm_params: {model: openai/gpt-4o, api_key: sk-canary-1}}\n\
         - {model_name: b, litellm_params: {model: openai/gpt-4o, api_key: sk-canary-2}}\n\
         - {model_name: c, litellm_params: {model: openai/gpt-4o-mini, api_key: sk-canary-1}}\n\
         - {model_name: d, litellm_params: {model: hosted_vllm/m, api_base: 'http://10.0.0.9:8000/v1', api_key: sk-canary-3}}\n\
         - {model_name: e, litellm_params: {model: openai/m, api_base: 'https://user:sk-canary-4@host/v1'}}\n\
         - {model_name: f, litellm_params: {model: bedrock/m, aws_secret_access_key: sk-canary-5}}\n\
         general_settings: {master_key: sk-canary-6, database_url: 'postgres://u:sk-canary-7@h/d'}\n\
         environment_variables: {LANGFUSE_SECRET_KEY: sk-canary-8}\n\
         router_settings: {redis_password: sk-canary-9}\n";
    let (draft, settings) = read(yaml);
    let all = format!("{}\n{:?}\n{:?}", draft.toml("config.yaml"), draft.left, draft.notes);
    assert!(!all.contains("canary"), "{all}");
    let variable = |name: &str| {
        let wanted = &model(&settings, name).provider;
        settings.providers.iter().find(|provider| provider.name == *wanted).unwrap().spec.api_key_env.clone().unwrap()
    };
    assert_eq!((variable("a"), variable("b")), ("OPENAI_API_KEY".into(), "OPENAI_API_KEY_2".into()));
    assert_eq!((variable("c"), variable("d")), ("OPENAI_API_KEY".into(), "HOSTED_VLLM_API_KEY".into()));
    assert!(settings.keys_required);
    for name in [
        "model_list[4] (e)",
        "model_list[5] (f)",
        "general_settings.master_key",
        "general_settings.database_url",
        "environment_variables.LANGFUSE_SECRET_KEY",
        "router_settings.redis_password",
        "model_list[0] (a).litellm_params.api_key",
    ] {
        assert!(left(&draft).contains(&name), "{name}: {:?}", left(&draft));
    }
}

#[test]
fn servers_of_the_house_are_local_and_cost_nothing() {
    let (draft, settings) = read(
        "model_list:\n\
         - {model_name: llama, litellm_params: {model: ollama/llama3.1, api_base: 'http://localhost:11434'}}\n\
         - {model_name: chat, litellm_params: {model: ollama_chat/qwen}}\n\
         - {model_name: vllm, litellm_params: {model: hosted_vllm/org/m, api_base: 'http://vllm:8000/v1', api_key: none}}\n\
         - {model_name: mine, litellm_params: {model: openai/m, api_base: 'http://192.168.1.5:8000/v1', api_key: none}}\n\
         - {model_name: rented, litellm_params: {model: openai/m, api_base: 'https://gpu.example.com/v1'}}\n\
         - {model_name: later, litellm_params: {model: openai/m, api_base: os.environ/WHERE_IT_IS}}\n",
    );
    assert_eq!(draft.local, ["llama", "chat", "vllm", "mine"]);
    assert_eq!(draft.hosted, ["rented", "later"]);
    for name in &draft.local {
        let model = model(&settings, name);
        let provider = settings.providers.iter().find(|provider| provider.name == model.provider).unwrap();
        assert_eq!((provider.location, &provider.spec.api_key_env), (Location::Local, &None), "{name}");
        assert_eq!(model.pricing, Pricing::Free, "{name}");
    }
    let address = |name: &str| {
        let wanted = &model(&settings, name).provider;
        let provider = settings.providers.iter().find(|provider| provider.name == *wanted).unwrap();
        let ProviderKind::Hosted(spec) = &provider.kind else { unreachable!("it has an address") };
        spec.base_url.to_string()
    };
    assert_eq!(address("llama"), "http://localhost:11434/v1");
    assert_eq!((address("chat"), address("vllm")), (address("llama"), "http://vllm:8000/v1".into()));
    assert_eq!(address("later"), "https://where-it-is.invalid/");
    assert!(draft.notes.iter().any(|note| note.contains("WHERE_IT_IS")), "{:?}", draft.notes);
}

#[test]
fn prices_keep_their_digits_and_base_models_have_one() {
    let (draft, settings) = read(
        "model_list:\n\
         - model_name: a\n  litellm_params: {model: openai/gpt-4o, input_cost_per_token: 0.00000015, output_cost_per_token: 6e-7}\n  \
           model_info: {max_input_tokens: 1000, max_output_tokens: 10, cache_read_input_token_cost: '7.5e-08', mode: chat}\n\
         - model_name: b\n  litellm_params: {model: azure/mine, api_base: 'https://x.openai.azure.com'}\n  model_info: {base_model: azure/gpt-4o}\n\
         - model_name: c\n  litellm_params: {model: openai/gpt-4o, input_cost_per_token: 1e-6}\n\
         - model_name: d\n  litellm_params: {model: groq/openai/gpt-oss-120b}\n\
         - model_name: e\n  litellm_params: {model: openai/nobody-knows-it}\n\
         - model_name: f\n  litellm_params: {model: openai/text-embedding-3-small}\n  model_info: {mode: embedding}\n\
         - model_name: g\n  litellm_params: {model: openai/text-embedding-3-large}\n\
         - model_name: h\n  litellm_params: {model: openai/whisper-1}\n  model_info: {mode: audio_transcription}\n",
    );
    let rates = |name: &str| match &model(&settings, name).pricing {
        Pricing::Priced(price, _) => (price.input.0, price.output.0, price.cached_input.map(|rate| rate.0)),
        Pricing::Free | Pricing::Unpriced => unreachable!("{name} has a price"),
    };
    assert_eq!(rates("a"), (150_000_000, 600_000_000, Some(75_000_000)));
    assert_eq!((model(&settings, "a").context_window, model(&settings, "a").max_output), (Some(1_000), Some(10)));
    assert_eq!(rates("b").0, 2_500_000_000, "by its base model");
    assert_eq!(rates("c").0, 2_500_000_000, "half a price is none: the table's");
    assert_eq!(rates("d"), (150_000_000, 600_000_000, Some(75_000_000)), "the table knows it by its prefix");
    assert_eq!(model(&settings, "e").pricing, Pricing::Unpriced);
    for name in ["f", "g"] {
        assert_eq!((model(&settings, name).kind, rates(name).1), (policies::ModelKind::Embedding, 0), "{name}");
    }
    assert_eq!(draft.hosted, ["a", "b", "c", "d", "e"], "`auto` does not choose among vectors");
    assert_eq!(left(&draft), ["model_list[2] (c): prices", "model_list[7] (h)"]);
}

#[test]
fn settings_are_carried_over_or_named() {
    let (draft, settings) = read(
        "x-shared: &shared {rpm: 10, tpm: 20}\n\
         model_list:\n\
         - model_name: gpt-4o\n  litellm_params: {<<: *shared, model: gpt-4o, temperature: 0.1, timeout: 5}\n  model_info: {team_id: t}\n\
         - {model_name: 'openai/*', litellm_params: {model: 'openai/*'}}\n\
         router_settings:\n  timeout: 45\n  num_retries: 3\n  routing_strategy: simple-shuffle\n  fallbacks: [{gpt-4o: [x]}]\n  \
           model_group_alias: {gpt-4: gpt-4o, hidden: {model: gpt-4o, hidden: true}, lost: nobody}\n\
         litellm_settings:\n  request_timeout: 600\n  drop_params: true\n  max_budget: 100.5\n  budget_duration: 30d\n  callbacks: [prometheus]\n\
         general_settings:\n  global_max_parallel_requests: 50\n  max_parallel_requests: 9\n",
    );
    assert_eq!(settings.timeouts.attempt.total.as_secs(), 45);
    assert_eq!((settings.in_flight, settings.keys_required), (50, false));
    let budget = &settings.budgets[0];
    assert_eq!((budget.scope.to_string(), budget.measure.text(budget.limit)), ("org".into(), "$100.500000".into()));
    for alias in ["gpt-4", "hidden"] {
        assert_eq!(model(&settings, alias).upstream, "gpt-4o");
    }
    let mut left = left(&draft);
    left.sort_unstable();
    assert_eq!(
        left,
        [
            "general_settings.max_parallel_requests",
            "litellm_settings.callbacks",
            "litellm_settings.drop_params",
            "litellm_settings.request_timeout",
            "model_list[0] (gpt-4o).litellm_params.rpm",
            "model_list[0] (gpt-4o).litellm_params.temperature",
            "model_list[0] (gpt-4o).litellm_params.timeout",
            "model_list[0] (gpt-4o).litellm_params.tpm",
            "model_list[0] (gpt-4o).model_info.team_id",
            "model_list[1] (openai/*)",
            "router_settings.fallbacks",
            "router_settings.model_group_alias.lost",
            "router_settings.num_retries",
            "router_settings.routing_strategy",
            "x-shared",
        ]
    );
    assert!(draft.left.iter().all(|left| !left.why.is_empty()));
}

#[test]
fn names_with_quotes_and_line_breaks_stay_names() {
    let (_, settings) = read(
        "model_list:\n- {model_name: \"a \\\"b\\\"\\n[server]\", litellm_params: {model: \"openai/x\\n\\\"y\\\"\"}}\n",
    );
    assert_eq!(settings.models[0].name.as_str(), "a \"b\"\n[server]");
    assert_eq!(settings.models[0].upstream, "x\n\"y\"");
}

#[test]
fn what_is_no_configuration_of_litellm_is_refused() {
    for yaml in ["", "a: 1", "- 1", "model_list: [", "just text"] {
        assert!(parse(yaml).is_err(), "{yaml}");
    }
    let (draft, settings) = read("model_list:\n");
    assert!(draft.models.is_empty() && settings.models.is_empty());
}
