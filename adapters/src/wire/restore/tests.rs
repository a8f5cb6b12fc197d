//! Restored answers, however they are cut.

use super::super::{Fold, seen_in_chunk, seen_in_whole};
use super::*;
use policies::Endpoint;
use policies::detect::Kind as Found;
use proptest::prelude::*;

const EMAIL: &str = "ada.lovelace+x@example.org";
const CARD: &str = "4012 8888 8888 1881";
const ADDRESS: &str = "2001:db8:0:1::8a2e";

fn values() -> Arc<Values> {
    let value = |kind, number, text: &str| (kind, number, Arc::from(text));
    Arc::new(Values::new([
        value(Found::Email, 1, EMAIL),
        value(Found::PaymentCard, 7, CARD),
        value(Found::IpAddress, 12, ADDRESS),
    ]))
}

/// What the client should get, said independently.
fn expected(text: &str) -> String {
    text.replace("<EMAIL_1>", EMAIL).replace("<CARD_7>", CARD).replace("<IP_ADDRESS_12>", ADDRESS)
}

/// The official form of a chunk.
fn chunk(choice: Value) -> Value {
    json!({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1_700_000_000, "model": "m",
        "system_fingerprint": "fp", "choices": [choice]})
}

fn content(piece: &str) -> Value {
    chunk(json!({"index": 0, "delta": {"content": piece}, "logprobs": null, "finish_reason": null}))
}

fn arguments(call: u64, piece: &str) -> Value {
    let calls = json!([{"index": call, "function": {"arguments": piece}}]);
    chunk(json!({"index": 0, "delta": {"tool_calls": calls}, "logprobs": null, "finish_reason": null}))
}

fn finish(why: &str) -> Value {
    chunk(json!({"index": 0, "delta": {}, "logprobs": null, "finish_reason": why}))
}

/// Restores a stream; gives what the client folds it to, and all its bytes.
fn streamed(chunks: &[Value]) -> (Value, String) {
    let mut restoring = Restoring::new(values());
    let (mut fold, mut bytes) = (Fold::new(Endpoint::Chat), String::new());
    let events = chunks.iter().map(|chunk| {
        let payload = chunk.to_string();
        let seen = seen_in_chunk(payload.as_bytes()).unwrap();
        Event::Delta { frame: sse::frame(payload.as_bytes()), seen }
    });
    for event in events.chain([Event::Done]) {
        for event in restoring.event(event) {
            if let Event::Delta { frame, .. } = event {
                let payload = sse::data(&frame).unwrap();
                assert!(serde_json::from_slice::<Value>(&payload).is_ok());
                fold.push(&payload);
                bytes.push_str(std::str::from_utf8(&frame).unwrap());
            }
        }
    }
    (fold.finish(), bytes)
}

/// A text of words and placeholders, the same for the same number.
fn answer(number: u64) -> String {
    const PIECES: [&str; 16] = [
        "<EMAIL_1>",
        "<CARD_7>",
        "<IP_ADDRESS_12>",
        "the card ",
        "is ",
        "<EMAIL_2>",
        "<",
        "x < y ",
        "&amp; ",
        "é😀",
        "<EMAIL_",
        "\n",
        "\\u00",
        "mail: ",
        "> ",
        "\"q\" ",
    ];
    let mut state = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    (0..3 + next() % 6).map(|_| PIECES[(next() % 16) as usize]).collect()
}

fn boundaries(text: &str) -> impl Iterator<Item = usize> + '_ {
    (0..=text.len()).filter(|at| text.is_char_boundary(*at))
}

/// In full size 2,000 answers; reduced a tenth.
fn answers() -> u64 {
    if std::env::var_os("SLUICE_TEST_SIZE").is_some_and(|size| size == "full") { 2_000 } else { 200 }
}

#[test]
fn answers_streamed_at_every_split_are_restored_exactly() {
    for number in 0..answers() {
        let text = answer(number);
        let wanted = expected(&text);
        for cut in boundaries(&text) {
            let (one, other) = text.split_at(cut);
            let (whole, _) = streamed(&[content(one), content(other), finish("stop")]);
            let choice = &whole["choices"][0];
            assert_eq!(choice["message"]["content"], wanted.as_str(), "{text:?} at {cut}");
            assert_eq!(choice["finish_reason"], "stop");
        }
        let letters: Vec<Value> = text.chars().map(|letter| content(letter.encode_utf8(&mut [0; 4]))).collect();
        let (whole, _) = streamed(&[letters, vec![finish("length")]].concat());
        assert_eq!(whole["choices"][0]["message"]["content"], wanted.as_str(), "{text:?} letter by letter");
    }
}

#[test]
fn arguments_stay_json_at_every_split() {
    let inner = json!({"to": "<EMAIL_1>", "note": "say \"hi\" to <IP_ADDRESS_12>\n", "nested": json!({"card": "<CARD_7>"}).to_string()});
    let text = inner.to_string();
    for cut in boundaries(&text) {
        let (one, other) = text.split_at(cut);
        // Two calls that take turns: each is a text of its own.
        let (whole, _) = streamed(&[
            arguments(0, one),
            arguments(1, one),
            arguments(0, other),
            arguments(1, other),
            finish("tool_calls"),
        ]);
        for call in 0..2 {
            let said = whole["choices"][0]["message"]["tool_calls"][call]["function"]["arguments"].as_str().unwrap();
            let said: Value = serde_json::from_str(said).unwrap();
            assert_eq!((&said["to"], &said["note"]), (&json!(EMAIL), &json!(format!("say \"hi\" to {ADDRESS}\n"))));
            let nested: Value = serde_json::from_str(said["nested"].as_str().unwrap()).unwrap();
            assert_eq!(nested["card"], CARD);
        }
    }
}

#[test]
fn choices_reasoning_and_texts_nobody_knows_are_texts_of_their_own() {
    let delta = |index: u64, delta: Value| chunk(json!({"index": index, "delta": delta, "finish_reason": null}));
    let mut restored: BTreeMap<(u64, &str), String> = BTreeMap::new();
    let mut restoring = Restoring::new(values());
    let chunks = [
        delta(0, json!({"role": "assistant", "reasoning_content": "a <EMA"})),
        delta(1, json!({"reasoning_content": "<CARD", "x_own": "b <EMAIL_1"})),
        delta(0, json!({"reasoning_content": "IL_1> c", "content": "<IP_ADD"})),
        delta(1, json!({"reasoning_content": "_7>", "x_own": ">"})),
        delta(0, json!({"content": "RESS_12> <EM"})),
    ];
    let last = |index: u64, delta: Value| chunk(json!({"index": index, "delta": delta, "finish_reason": "stop"}));
    // One choice ends with its text, the other without.
    let ends = [last(0, json!({"content": "AIL_"})), last(1, json!({}))];
    for payload in chunks.iter().chain(&ends) {
        let payload = payload.to_string();
        let seen = seen_in_chunk(payload.as_bytes()).unwrap();
        for event in restoring.event(Event::Delta { frame: sse::frame(payload.as_bytes()), seen }) {
            let Event::Delta { frame, .. } = event else { continue };
            let event: Value = serde_json::from_slice(&sse::data(&frame).unwrap()).unwrap();
            assert_eq!((&event["id"], &event["object"]), (&json!("chatcmpl-1"), &json!("chat.completion.chunk")));
            let choice = &event["choices"][0];
            for field in ["reasoning_content", "content", "x_own"] {
                let said = choice["delta"][field].as_str().unwrap_or_default();
                restored.entry((choice["index"].as_u64().unwrap(), field)).or_default().push_str(said);
            }
        }
    }
    let said = |index, field| restored[&(index, field)].as_str();
    assert_eq!(said(0, "reasoning_content"), format!("a {EMAIL} c"));
    assert_eq!(said(0, "content"), format!("{ADDRESS} <EMAIL_"));
    assert_eq!(said(1, "reasoning_content"), CARD);
    assert_eq!(said(1, "x_own"), format!("b {EMAIL}"));
}

#[test]
fn an_event_without_placeholders_keeps_its_bytes_and_a_changed_one_all_else() {
    let mut restoring = Restoring::new(values());
    let mut pass = |payload: &str| {
        let frame = sse::frame(payload.as_bytes());
        let seen = seen_in_chunk(payload.as_bytes()).unwrap();
        let [Event::Delta { frame, .. }] = &restoring.event(Event::Delta { frame, seen })[..] else {
            panic!("one event")
        };
        std::str::from_utf8(frame).unwrap().to_owned()
    };
    let plain = r#"{"x" : 1.50,"choices":[{"delta":{"content":"a\u00e9 > b"},"index":0}],"id":"<EMAIL_1>"}"#;
    assert_eq!(pass(plain), format!("data: {plain}\n\n"));
    let told =
        r#"{"x" : 1.50,"choices":[{"delta":{"content":"<EMAIL_1>","k":18446744073709551615},"index":0}],"y":[1, 2]}"#;
    assert_eq!(pass(told), format!("data: {}\n\n", told.replace("<EMAIL_1>", EMAIL)));
}

#[test]
fn a_whole_answer_is_restored_in_every_choice_and_nowhere_else() {
    let body = json!({"id": "<EMAIL_1>", "object": "chat.completion", "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "to <EMAIL_1> <EM", "refusal": null, "reasoning_content": "<CARD_7>"},
            "finish_reason": "stop"},
        {"index": 1, "message": {"role": "assistant", "content": null, "tool_calls": [{"id": "c", "type": "function",
            "function": {"name": "f", "arguments": "{\"to\":\"<EMAIL_1>\"}"}}]}, "finish_reason": "tool_calls"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}})
    .to_string();
    let seen = seen_in_whole(body.as_bytes()).unwrap();
    let events = Restoring::new(values()).event(Event::Whole { body: body.clone().into(), seen });
    let [Event::Whole { body: restored, seen }] = &events[..] else { panic!("one event") };
    let (head, rest) = body.split_at(body.find("\"object\"").unwrap());
    assert_eq!(std::str::from_utf8(restored).unwrap(), format!("{head}{}", expected(rest)));
    assert!(seen.text.contains("<EMAIL_1>") && !seen.text.contains(EMAIL), "what is counted and kept is masked");
}

#[test]
fn what_a_broken_stream_held_back_is_given_before_its_error() {
    let mut restoring = Restoring::new(values());
    let payload = content("see <EMAIL_").to_string();
    let seen = seen_in_chunk(payload.as_bytes()).unwrap();
    restoring.event(Event::Delta { frame: sse::frame(payload.as_bytes()), seen });
    let Some(Event::Delta { frame, seen }) = restoring.end() else { panic!("something was held back") };
    let rest: Value = serde_json::from_slice(&sse::data(&frame).unwrap()).unwrap();
    assert_eq!(rest["choices"][0]["delta"]["content"], "<EMAIL_");
    assert!(seen.text.is_empty() && restoring.end().is_none());
}

#[test]
fn an_error_of_the_provider_is_restored() {
    let body = r#"{"error":{"message":"`<EMAIL_1>` is not \"valid\"","param":null}}"#;
    let kind = Kind::Status { status: 400, body: Some(Bytes::from_static(body.as_bytes())), retry_after: None };
    let Kind::Status { body: Some(restored), .. } = in_error(&values(), BackendError::before_first_event(kind)).kind
    else {
        panic!("a status")
    };
    assert_eq!(std::str::from_utf8(&restored).unwrap(), expected(body));
}

proptest! {
    #[test]
    fn however_events_are_cut_and_mixed_the_client_gets_the_same(
        texts in proptest::collection::vec(0u64..5_000, 3),
        cuts in proptest::collection::vec(proptest::collection::vec(any::<prop::sample::Index>(), 0..5), 3),
        order in proptest::collection::vec(0usize..3, 0..24),
        finish_in_text in any::<bool>(),
    ) {
        // Three texts: content, and the arguments of two calls.
        let texts: Vec<String> = texts.into_iter().map(answer).collect();
        let mut pieces: Vec<Vec<&str>> = texts.iter().zip(&cuts).map(|(text, cuts)| {
            let all: Vec<usize> = boundaries(text).collect();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| all[cut.index(all.len())]).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            cuts.windows(2).map(|pair| &text[pair[0]..pair[1]]).rev().collect()
        }).collect();
        let event = |at: usize, piece: &str| match at {
            0 => content(piece),
            call => arguments(call as u64 - 1, piece),
        };
        let mut chunks = vec![arguments(0, ""), arguments(1, "")];
        for at in order.into_iter().chain([0, 1, 2].repeat(7)) {
            if let Some(piece) = pieces[at].pop() {
                chunks.push(event(at, piece));
            }
        }
        if finish_in_text {
            chunks.last_mut().unwrap()["choices"][0]["finish_reason"] = "stop".into();
        } else {
            chunks.push(finish("stop"));
        }
        let (whole, _) = streamed(&chunks);
        let message = &whole["choices"][0]["message"];
        prop_assert_eq!(message["content"].as_str().unwrap(), expected(&texts[0]));
        for call in 0..2 {
            let said = message["tool_calls"][call]["function"]["arguments"].as_str().unwrap();
            prop_assert_eq!(said, expected(&texts[call + 1]));
        }
    }
}
