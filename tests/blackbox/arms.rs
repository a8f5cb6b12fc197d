//! Splits and shadows whose sides differ by system prompt, model or threshold: sessions stay in their arm, the model gets what the
//! arm says, constraints see it, and the record names it.

use serde_json::{Value, json};
use tests::gateway::{Gateway, folder, run};
use tests::upstream::{Manner, Play, Upstream};
use tests::{EASY, HARD, chat, eventually, two_sides};

const TERSE: &str = "Be terse about it. {system}";
const SESSIONS: usize = 30;

/// A gateway with these files beside its configuration.
async fn start(rest: &str, files: &[(&str, &str)]) -> Gateway {
    let folder = folder(rest);
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).expect("written");
    }
    Gateway::serve(folder, &[]).await
}

async fn sides() -> (Upstream, Upstream) {
    (Upstream::start().await, Upstream::start().await)
}

fn with_system(content: &str) -> Value {
    json!({"model": "auto", "messages": [
        {"role": "system", "content": "Own words."}, {"role": "user", "content": content},
    ]})
}

fn system(body: &Value) -> &str {
    body["messages"][0]["content"].as_str().unwrap_or_default()
}

async fn in_session(gateway: &Gateway, body: &Value, session: &str) -> tests::Told {
    let told = gateway.tell_with(body, &[("x-sluice-session", session)]).await;
    assert_eq!(told.status, 200, "{}", told.text());
    told
}

async fn thumb(gateway: &Gateway, id: &str, rating: &str) {
    let body = json!({"request_id": id, "rating": rating});
    assert_eq!(gateway.send("/v1/feedback", body.to_string(), &[]).await.status, 200);
}

#[tokio::test]
async fn a_split_of_prompts_puts_the_arms_prompt_into_every_request_of_a_session_and_on_record() {
    let (hosted, house) = sides().await;
    let rest = format!(
        "{}[experiments.x]\nkind = \"split\"\nshare = \"50%\"\nleft_system = \"terse.txt\"\n",
        two_sides(&hosted, &house)
    );
    let gateway = start(&rest, &[("terse.txt", TERSE)]).await;
    let (mut arms, mut digest) = ([0, 0], None);
    for n in 0..SESSIONS {
        let session = format!("session-{n}");
        let mut left = None;
        for prompt in [EASY, HARD] {
            let body = with_system(prompt);
            let told = in_session(&gateway, &body, &session).await;
            let served = if told.said("x-sluice-route") == "local" { &house } else { &hosted };
            let sent = served.of(told.id()).expect("it was asked").json();
            let story = gateway.api(&format!("/api/requests/{}", told.id())).await;
            let arm = story["experiment"].clone();
            assert_eq!(&arm, &story["decision"]["experiment"], "{story}");
            let is_left = arm["arm"] == "left";
            assert_eq!(system(&sent), if is_left { "Be terse about it. Own words." } else { "Own words." }, "{arm}");
            assert_eq!(*left.get_or_insert(is_left), is_left, "a session stays in its arm");
            if is_left {
                digest.get_or_insert(arm["what"].clone());
                // The prompt of the arm is counted and paid for: more words than the client sent.
                let line = tests::oracle::attempt(&gateway, told.id()).await;
                let words = body["messages"].as_array().expect("messages").iter();
                let words: usize = words.map(|m| m["content"].as_str().map_or(0, |t| t.split(' ').count())).sum();
                assert_eq!(line["input_tokens"], words + 4 + 10, "{line}");
            } else {
                assert_eq!(arm["what"], "as it comes");
            }
        }
        arms[usize::from(left == Some(true))] += 1;
    }
    assert!(arms.iter().all(|arm| *arm >= 5), "{arms:?}");
    let digest = digest.expect("somebody was in the left arm");
    assert!(digest.as_str().is_some_and(|what| what.starts_with("system ") && what.len() == 23), "{digest}");
    let told = gateway.api("/api/experiments/x").await;
    assert_eq!((&told["left"], &told["right"]), (&digest, &json!("as it comes")));
    assert_eq!(told["arms"]["left"]["requests"], 2 * arms[1], "{told}");
    assert_eq!(told["arms"]["right"]["requests"], 2 * arms[0], "{told}");
    assert!(!told.to_string().contains("terse about"), "a prompt is shown nowhere");
    // Who names a model is in no experiment.
    let pinned = in_session(&gateway, &chat("small", EASY), "pinned").await;
    assert_eq!(house.of(pinned.id()).expect("it was asked").json()["messages"].as_array().map(Vec::len), Some(1));
    assert_eq!(gateway.api(&format!("/api/requests/{}", pinned.id())).await["experiment"], Value::Null);
    // What is explained is what is on record.
    let explained =
        gateway.send("/v1/route", with_system(EASY).to_string(), &[("x-sluice-session", "session-0")]).await;
    let first = in_session(&gateway, &with_system(EASY), "session-0").await;
    let story = gateway.api(&format!("/api/requests/{}", first.id())).await;
    assert_eq!(explained.json()["experiment"], story["decision"]["experiment"]);
    assert_eq!(explained.json()["facts"]["prompt_tokens"], story["decision"]["facts"]["prompt_tokens"]);
}

#[tokio::test]
async fn marks_compare_the_arms_and_those_of_another_prompt_do_not_count() {
    let (hosted, house) = sides().await;
    let rest = format!(
        "{}[experiments.x]\nkind = \"split\"\nshare = \"50%\"\nleft_system = \"a.txt\"\nright_system = \"b.txt\"\n",
        two_sides(&hosted, &house)
    );
    let gateway = start(&rest, &[("a.txt", "Be terse."), ("b.txt", "Be kind.")]).await;
    let mut marks = [0, 0];
    for n in 0..SESSIONS {
        let told = in_session(&gateway, &chat("auto", EASY), &format!("s{n}")).await;
        let sent = house.of(told.id()).expect("it was asked").json();
        let left = system(&sent) == "Be terse.";
        marks[usize::from(left)] += 1;
        thumb(&gateway, told.id(), if left { "down" } else { "up" }).await;
    }
    let told = gateway.api("/api/experiments/x").await;
    assert_eq!((&told["labels"]["left"], &told["labels"]["right"]), (&json!(marks[1]), &json!(marks[0])), "{told}");
    assert!(told["interval"]["low"].as_f64().is_some_and(|low| low < -0.5), "{told}");
    // A changed file is taken over like a changed configuration.
    std::fs::write(gateway.folder.path().join("a.txt"), "Be terse, really.").expect("written");
    let before = told["left"].clone();
    let told = eventually("the other prompt is in force", async || {
        let told = gateway.api("/api/experiments/x").await;
        (told["left"] != before).then_some(told)
    })
    .await;
    assert_eq!((&told["labels"]["left"], &told["labels"]["right"]), (&json!(0), &json!(marks[0])), "{told}");
}

#[tokio::test]
async fn constraints_see_an_arms_prompt_and_do_not_lose_the_clients_own() {
    let (hosted, house) = sides().await;
    let rest = format!(
        "{}[residency.classes.restricted]\nlocations = [\"local\"]\n\
         [[residency.matchers]]\nclass = \"restricted\"\nwhen = {{ system = \"(?i)personnel file\" }}\n\
         [experiments.x]\nkind = \"split\"\nshare = \"100%\"\nleft_system = \"other.txt\"\n",
        two_sides(&hosted, &house)
    );
    let files = [("other.txt", "Mail ann@example.org, card 4111 1111 1111 1111.")];
    let gateway = start(&rest, &files).await;
    // What the arm's prompt holds is found, and stays in the house.
    let told = in_session(&gateway, &chat("auto", HARD), "a").await;
    assert_eq!((told.said("x-sluice-route"), hosted.count()), ("local", 0));
    let story = gateway.api(&format!("/api/requests/{}", told.id())).await;
    let found = story["decision"]["facts"]["detected"].to_string();
    assert!(found.contains("card"), "{found}");
    let folder = gateway.folder.clone();
    drop(gateway);
    std::fs::write(folder.path().join("other.txt"), "Be kind.").expect("written");
    let gateway = Gateway::serve(folder, &[]).await;
    assert_eq!(in_session(&gateway, &chat("auto", HARD), "b").await.said("x-sluice-route"), "hosted");
    // Its prompt is replaced, and what it was configured to mean is not.
    let body = json!({"model": "auto", "messages": [
        {"role": "system", "content": "You read a personnel file."}, {"role": "user", "content": HARD},
    ]});
    let told = in_session(&gateway, &body, "c").await;
    assert_eq!((told.said("x-sluice-route"), hosted.count()), ("local", 1));
    assert_eq!(system(&house.of(told.id()).expect("it was asked").json()), "Be kind.");
}

#[tokio::test]
async fn two_local_models_a_base_and_its_adapter_are_split_by_session_and_leave_the_side_to_the_judge() {
    let (hosted, house) = sides().await;
    let rest = format!(
        "{}{}[router]\nlocal = [\"base\", \"lora\"]\nhosted = [\"big\"]\nclassifier = \"heuristic\"\n\
         [ledger]\ndurability = \"process\"\n\
         [experiments.x]\nkind = \"split\"\nshare = \"50%\"\nleft = \"lora\"\nright = \"base\"\n",
        hosted.provider("hosted", "hosted", &[("big", "echo")]),
        house.provider("house", "local", &[("base", "echo"), ("lora", "adapter")]),
    );
    house.play("adapter", Play::Answer(Manner::default()));
    let gateway = start(&rest, &[]).await;
    let mut arms = [0, 0];
    for n in 0..SESSIONS {
        let session = format!("s{n}");
        let first = in_session(&gateway, &chat("auto", EASY), &session).await;
        let again = in_session(&gateway, &chat("auto", EASY), &session).await;
        assert_eq!(first.said("x-sluice-model"), again.said("x-sluice-model"));
        let lora = first.said("x-sluice-model") == "lora";
        arms[usize::from(lora)] += 1;
        let story = gateway.api(&format!("/api/requests/{}", first.id())).await;
        let expected = if lora { ("left", "model lora") } else { ("right", "model base") };
        assert_eq!(
            (&story["experiment"]["arm"], &story["experiment"]["what"]),
            (&json!(expected.0), &json!(expected.1))
        );
    }
    assert!(arms.iter().all(|arm| *arm >= 5), "{arms:?}");
    let hard = in_session(&gateway, &chat("auto", HARD), "s0").await;
    assert_eq!(hard.said("x-sluice-route"), "hosted", "the judge has its word");
    let story = gateway.api(&format!("/api/requests/{}", hard.id())).await;
    assert_eq!(story["experiment"], Value::Null, "neither model was first: it says nothing of them");
    let told = gateway.api("/api/experiments/x").await;
    assert_eq!(told["arms"]["left"]["requests"], 2 * arms[1], "{told}");
}

#[tokio::test]
async fn the_verdict_is_on_what_an_arm_itself_served_and_beside_it_stands_all_that_was_put_in_it() {
    let (hosted, house) = sides().await;
    let rest = format!("{}[experiments.x]\nkind = \"split\"\nshare = \"50%\"\n", two_sides(&hosted, &house));
    let gateway = start(&rest, &[]).await;
    let (mut arms, mut taken_over) = ([0, 0], 0);
    for n in 0..SESSIONS {
        let session = format!("s{n}");
        let told = in_session(&gateway, &chat("auto", EASY), &session).await;
        let left = told.said("x-sluice-route") == "local";
        arms[usize::from(left)] += 1;
        thumb(&gateway, told.id(), "up").await;
        if left && taken_over < 3 {
            house.play("echo", Play::Status(500, vec![]));
            let told = in_session(&gateway, &chat("auto", EASY), &session).await;
            assert_eq!((told.said("x-sluice-route"), told.said("x-sluice-reason")), ("hosted", "fallback"));
            thumb(&gateway, told.id(), "down").await;
            taken_over += 1;
            house.play("echo", Play::Answer(Manner::default()));
        }
    }
    assert!(arms.iter().all(|arm| *arm >= 5) && taken_over == 3, "{arms:?}");
    let told = gateway.api("/api/experiments/x").await;
    let (left, right) = (&told["arms"]["left"], &told["arms"]["right"]);
    let of = |arm: &Value, names: &[&str]| names.iter().map(|name| arm[*name].clone()).collect::<Vec<_>>();
    let figures = ["side", "model", "share", "sessions", "requests", "answered", "served", "hosted"];
    let all = arms[1] + taken_over;
    let expected = json!(["local", null, 0.5, arms[1], all, all, arms[1], taken_over]);
    assert_eq!(json!(of(left, &figures)), expected, "{told}");
    let expected = json!(["hosted", null, 0.5, arms[0], arms[0], arms[0], arms[0], arms[0]]);
    assert_eq!(json!(of(right, &figures)), expected, "{told}");
    assert_eq!(told["labels"], json!({"left": arms[1], "right": arms[0]}), "{told}");
    let intended = &told["intention_to_treat"];
    assert_eq!(intended["labels"], json!({"left": all, "right": arms[0]}), "{told}");
    let low = |of: &Value| of["interval"]["low"].as_f64().expect("a number");
    assert!(low(intended) < low(&told), "thumbs down count for it: {told}");
    let fell = (arms[1] as f64 - SESSIONS as f64 / 2.0).powi(2) / (SESSIONS as f64 / 4.0);
    let found = told["draw"]["chi_squared"].as_f64().expect("a number");
    assert!((found - fell).abs() < 1e-9 && told["draw"]["p_value"].as_f64().is_some_and(|p| p > 0.0), "{told}");
}

#[tokio::test]
async fn two_thresholds_are_split_and_each_arm_keeps_its_own() {
    let (hosted, house) = sides().await;
    let rest = format!(
        "{}[experiments.x]\nkind = \"split\"\nshare = \"50%\"\nleft_cut = \"0.01\"\nright_hosted_share = \"0%\"\n",
        two_sides(&hosted, &house).replace("[router]\n", "[router]\nhosted_share = \"50%\"\nswitch_cost = \"0\"\n")
    );
    let gateway = start(&rest, &[]).await;
    let mut arms = [0, 0];
    for n in 0..SESSIONS {
        let session = format!("s{n}");
        let told = in_session(&gateway, &chat("auto", HARD), &session).await;
        let story = gateway.api(&format!("/api/requests/{}", told.id())).await;
        let left = story["experiment"]["arm"] == "left";
        arms[usize::from(left)] += 1;
        assert_eq!(told.said("x-sluice-route"), if left { "hosted" } else { "local" }, "{story}");
        assert_eq!(told.said("x-sluice-reason"), "classifier");
        assert_eq!(story["experiment"]["what"], if left { "cut 0.01" } else { "hosted_share 0" });
    }
    assert!(arms.iter().all(|arm| *arm >= 5), "{arms:?}");
    let told = gateway.api("/api/experiments/x").await;
    assert_eq!((&told["arms"]["left"]["hosted"], &told["arms"]["right"]["hosted"]), (&json!(arms[1]), &json!(0)));
}

#[tokio::test]
async fn a_shadow_under_another_prompt_asks_the_same_model_again_and_never_the_client() {
    let (hosted, house) = sides().await;
    let rest = format!(
        "{}[experiments.x]\nkind = \"shadow\"\nshare = \"100%\"\njudge = \"normalised\"\nleft_system = \"terse.txt\"\n",
        two_sides(&hosted, &house)
    );
    let gateway = start(&rest, &[("terse.txt", TERSE)]).await;
    for (n, (prompt, served)) in [(EASY, &house), (HARD, &hosted)].into_iter().enumerate() {
        let told = gateway.tell(&with_system(prompt)).await;
        assert_eq!(told.status, 200);
        let state = eventually("the pair is judged", async || {
            let told = gateway.api("/api/experiments/x").await;
            (told["whole"]["pairs"].as_u64() == Some(n as u64 + 1)).then_some(told)
        })
        .await;
        let asked: Vec<String> = served.log().iter().map(|seen| system(&seen.json()).to_owned()).collect();
        assert_eq!(asked, ["Own words.", "Be terse about it. Own words."], "first the client's, then the copy");
        let pair = &state["pairs"][0];
        assert_eq!((&pair["shadow"], &pair["left_model"]), (&json!("left"), &pair["right_model"]), "{pair}");
        assert!(pair["version"].as_str().is_some_and(|word| word.contains(" system ")), "{pair}");
        assert_eq!(system(&json!({"messages": pair["prompt"]})), "Own words.", "the question is the client's");
    }
    // Both sides' texts, but none of the small model beside the large one: nothing to train on.
    let rows = gateway.folder.path().join("rows.jsonl");
    gateway.cli(&["classifier", "rows", "--out", &rows.display().to_string()]);
    assert_eq!(std::fs::read_to_string(&rows).expect("rows"), "");
    // Restricted requests have no copy, under whatever prompt.
    let told = gateway.tell_with(&with_system(HARD), &[("x-sluice-data-class", "restricted")]).await;
    assert_eq!(told.said("x-sluice-route"), "local");
    assert_eq!(gateway.tell(&with_system(EASY)).await.said("x-sluice-route"), "local");
    eventually("the next request's copy was made", async || (house.count() >= 5).then_some(())).await;
    let terse = house.log().iter().filter(|seen| system(&seen.json()).starts_with("Be terse")).count();
    assert_eq!((terse, house.count(), hosted.count()), (2, 5, 2));
}

#[tokio::test]
async fn a_pair_whose_sides_answered_under_different_prompts_is_no_row_to_learn_from() {
    for (left, right, prompt) in [("small", "big", HARD), ("big", "small", EASY)] {
        let (hosted, house) = sides().await;
        let rest = format!(
            "{}[experiments.x]\nkind = \"shadow\"\nshare = \"100%\"\njudge = \"normalised\"\nleft = \"{left}\"\n\
             right = \"{right}\"\nleft_system = \"terse.txt\"\n",
            two_sides(&hosted, &house)
        );
        let gateway = start(&rest, &[("terse.txt", TERSE)]).await;
        let told = gateway.tell(&with_system(prompt)).await;
        assert_eq!(told.said("x-sluice-model"), right, "{}", told.text());
        eventually("the pair is judged", async || {
            let told = gateway.api("/api/experiments/x").await;
            (told["whole"]["pairs"].as_u64() == Some(1)).then_some(())
        })
        .await;
        assert_eq!((hosted.count(), house.count()), (1, 1), "both sides answered");
        let rows = gateway.folder.path().join("rows.jsonl");
        let told = gateway.cli(&["classifier", "rows", "--out", &rows.display().to_string()]);
        assert_eq!(told["rows"], 0, "{told}");
    }
}

#[tokio::test]
async fn a_session_that_asks_again_leaves_a_label_that_counts_only_where_it_is_named() {
    let (hosted, house) = sides().await;
    let rest = format!(
        "{}[learning.implicit]\nwindow = \"10m\"\n\
         [experiments.x]\nkind = \"split\"\nshare = \"50%\"\nlabels = [\"feedback\", \"implicit\"]\n",
        two_sides(&hosted, &house)
    );
    let gateway = start(&rest, &[]).await;
    let labels = async |id: &str, count: usize| {
        eventually("its labels are there", async || {
            let story = gateway.api(&format!("/api/requests/{id}")).await;
            let labels = story["labels"].as_array().cloned().unwrap_or_default();
            (labels.len() == count).then_some(labels)
        })
        .await
    };
    let first = in_session(&gateway, &chat("auto", EASY), "a").await;
    let again = in_session(&gateway, &chat("auto", EASY), "a").await;
    let label = labels(first.id(), 1).await[0].clone();
    assert_eq!((&label["source"], &label["value"]), (&json!("regenerate"), &json!(0.0)), "{label}");
    let nearly = in_session(&gateway, &chat("auto", "What is the capital of France please?"), "a").await;
    assert_eq!(labels(again.id(), 1).await[0]["source"], "reask");
    let other = in_session(&gateway, &chat("auto", "Write a short poem about the sea."), "a").await;
    in_session(&gateway, &chat("auto", EASY), "b").await;
    // Without a session the same question may come from somebody else.
    let nobody = gateway.tell(&chat("auto", EASY)).await;
    gateway.tell(&chat("auto", EASY)).await;
    for quiet in [&nearly, &other, &nobody] {
        labels(quiet.id(), 0).await;
    }
    let told = gateway.api("/api/experiments/x").await;
    assert_eq!(told["counts"], json!(["feedback", "implicit"]));
    // Nothing is as old as the window, so that only a client's word counts yet.
    assert_eq!(told["labels"]["left"].as_u64().zip(told["labels"]["right"].as_u64()), Some((0, 0)), "{told}");
    thumb(&gateway, first.id(), "up").await;
    let told = gateway.api("/api/experiments/x").await;
    let marks = told["labels"]["left"].as_u64().zip(told["labels"]["right"].as_u64());
    assert!(matches!(marks, Some((1, 0) | (0, 1))), "{told}");
}

#[test]
fn arms_that_could_show_nothing_are_refused_by_name() {
    let folder = folder("");
    std::fs::write(folder.path().join("a.txt"), "Be terse.").expect("written");
    let base = "[server]\nlisten = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\n\
        [providers.p]\nkind = \"simulated\"\nlocation = \"local\"\n[providers.q]\nkind = \"simulated\"\n\
        [models.small]\nprovider = \"p\"\n[models.other]\nprovider = \"p\"\n[models.out]\nprovider = \"p\"\n\
        [models.big]\nprovider = \"q\"\n\
        [router]\nlocal = [\"small\", \"other\"]\nhosted = [\"big\"]\nclassifier = \"heuristic\"\n";
    let checked = |experiment: &str, more: &str| {
        let text = format!("{base}{more}[experiments.x]\n{experiment}");
        std::fs::write(folder.path().join("sluice.toml"), text).expect("written");
        let output = run(folder.path(), &["check"], "");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let split = |more: &str| format!("kind = \"split\"\nshare = \"50%\"\n{more}");
    for good in [
        "left_system = \"a.txt\"\n",
        "left = \"small\"\nright = \"other\"\n",
        "left = \"small\"\nright = \"small\"\nleft_system = \"a.txt\"\n",
        "left_cut = \"0.3\"\n",
        "left_hosted_share = \"20%\"\nright_hosted_share = \"40%\"\n",
        "left = \"other\"\nright = \"big\"\n",
    ] {
        let (code, said) = checked(&split(good), "");
        assert_eq!(code, Some(0), "{good}: {said}");
    }
    for (experiment, more, says) in [
        (split("left_system = \"b.txt\"\n"), "", "`left_system`: cannot read"),
        (split("left_system = \"a.txt\"\nright_system = \"a.txt\"\n"), "", "both arms do the same"),
        (split("left = \"small\"\nright = \"small\"\n"), "", "compared with itself"),
        (split("left = \"small\"\nright = \"out\"\n"), "", "`out` is neither in"),
        (split("left = \"small\"\nright = \"big\"\nleft_cut = \"0.3\"\n"), "", "a threshold decides nothing"),
        (split("left_cut = \"0.3\"\nleft_hosted_share = \"3%\"\n"), "", "set the same threshold"),
        (split("labels = [\"feedback\", \"implicit\"]\n"), "", "needs the section `[learning.implicit]`"),
        (split("labels = [\"shadow\"]\n"), "", "`shadow` cannot count"),
        (split("judge = \"exact\"\n"), "", "go with `kind = \"shadow\"`"),
        ("kind = \"shadow\"\nshare = \"5%\"\nleft_cut = \"0.3\"\n".into(), "", "go with `kind = \"split\"`"),
        ("kind = \"shadow\"\nshare = \"5%\"\nright_system = \"a.txt\"\n".into(), "", "go with `kind = \"split\"`"),
        ("kind = \"shadow\"\nshare = \"5%\"\nact = true\nleft_system = \"a.txt\"\n".into(), "", "under `left_system`"),
        ("kind = \"interleave\"\nshare = \"5%\"\n".into(), "", "`sluice compare`"),
        (split(""), "[learning.implicit]\nsignals = [\"mood\"]\n", "`mood` is unknown"),
        (split(""), "[learning.implicit]\nlikeness = \"10%\"\n", "must lie between 30%"),
    ] {
        let (code, said) = checked(&experiment, more);
        assert!(code == Some(64) && said.contains(says), "{experiment}{more}: {code:?} {said}");
    }
}
