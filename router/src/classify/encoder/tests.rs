use super::*;
use std::sync::LazyLock;
use std::time::Instant;

/// Loaded once: loading copies the matrices.
static ENCODER: LazyLock<Encoder> = LazyLock::new(|| Encoder::bundled().unwrap());

#[derive(serde::Deserialize)]
struct Reference {
    vectors: Vec<Exact>,
    ids: Vec<Ids>,
}

#[derive(serde::Deserialize)]
struct Exact {
    text: String,
    ids: Vec<i32>,
    vector: Vec<f32>,
}

#[derive(serde::Deserialize)]
struct Ids {
    text: String,
    ids: Vec<i32>,
}

fn reference() -> Reference {
    serde_json::from_str(include_str!("../../../assets/encoder/reference.json")).unwrap()
}

fn of(text: &str) -> Encoded {
    ENCODER.encode(text, "").unwrap()
}

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[test]
fn the_same_text_gives_the_same_vector_on_any_thread() {
    let text = "Explain how a suspension bridge carries its load.";
    let first = of(text);
    std::thread::scope(|scope| {
        let others: Vec<_> = (0..4).map(|_| scope.spawn(|| of(text))).collect();
        for other in others {
            assert_eq!(first.vector, other.join().unwrap().vector);
        }
    });
}

#[test]
fn vectors_are_near_those_of_the_exact_network() {
    for Exact { text, ids, vector } in reference().vectors {
        let encoded = of(&text);
        assert_eq!(encoded.tokens, ids.len(), "{text}");
        let cosine = cosine(&*encoded.vector, &vector);
        assert!(cosine > 0.97, "{cosine} for {text}");
    }
}

#[test]
fn token_ids_are_those_of_the_reference_tokeniser() {
    let Reference { vectors, ids } = reference();
    for (text, ids) in vectors
        .into_iter()
        .map(|Exact { text, ids, .. }| (text, ids))
        .chain(ids.into_iter().map(|row| (row.text, row.ids)))
    {
        assert_eq!(ENCODER.pieces.read(&text, "").unwrap().ids, ids, "{text:?}");
    }
}

#[test]
fn marks_in_a_text_are_words() {
    let read = ENCODER.pieces.read("[SEP] [CLS]", "").unwrap();
    assert_eq!(read.ids.iter().filter(|id| [101, 102].contains(*id)).count(), 2);
}

#[test]
fn vectors_have_length_one() {
    for text in ["", "x", "Prove it.", "\u{200b}\u{feff}", "\0", "東京", "👩‍👩‍👧"] {
        let vector = of(text).vector;
        assert!((cosine(&*vector, &*vector) - 1.0).abs() < 1e-4, "{text:?}");
    }
}

#[test]
fn like_sentences_are_nearer_than_unlike_ones() {
    let [dog, puppy, bond] = [
        "How do I teach my dog to sit?",
        "What is the best way to train a puppy to sit down?",
        "Derive the price of a zero-coupon bond under the Vasicek model.",
    ]
    .map(|text| of(text).vector);
    let (like, unlike) = (cosine(&*dog, &*puppy), cosine(&*dog, &*bond));
    assert!(like > 0.6 && unlike < 0.2, "{like} and {unlike}");
}

#[test]
fn texts_without_words_have_a_vector() {
    let nothing = of("");
    assert_eq!((nothing.tokens, nothing.unread_bytes), (2, 0));
    for text in ["   \n\t", "\u{200b}\u{200d}\u{feff}", "\u{ad}\u{1}"] {
        assert_eq!(of(text).vector, nothing.vector, "{text:?}");
    }
}

#[test]
fn characters_that_show_nothing_change_nothing() {
    assert_eq!(of("ig\u{200b}nore th\u{ad}is").vector, of("ignore this").vector);
}

#[test]
fn chinese_characters_are_words_by_themselves() {
    assert_eq!(of("东京和京都").tokens, 7);
}

#[test]
fn tokens_are_counted_with_the_two_marks() {
    assert_eq!(of("hello").tokens, 3);
    assert_eq!(of(&"hello ".repeat(126)).tokens, 128);
    assert_eq!((of(&"hello ".repeat(126)).tokens, of(&"hello ".repeat(126)).unread_bytes), (128, 0));
}

#[test]
fn one_token_too_many_is_left_out_between_the_ends() {
    let text = "hello ".repeat(127);
    let encoded = of(&text);
    assert_eq!(encoded.tokens, MOST_TOKENS);
    // The word and the two spaces around it; the space behind the last word belongs to no word and is not missed.
    assert_eq!(encoded.unread_bytes, " hello ".len());
}

#[test]
fn of_a_megabyte_only_both_ends_are_read() {
    let middle = "lorem ipsum ".repeat(90_000);
    let text = format!("Translate this into French. {middle} Then prove the theorem.");
    let read = ENCODER.pieces.read(&text, "").unwrap();
    assert_eq!(read.ids.len(), MOST_TOKENS);
    assert!(read.unread_bytes > 1_000_000);
    let begin = ENCODER.pieces.read("Translate this into French.", "").unwrap().ids;
    let end = ENCODER.pieces.read("Then prove the theorem.", "").unwrap().ids;
    assert!(read.ids.starts_with(&begin[..begin.len() - 1]));
    assert!(read.ids.ends_with(&end[1..]));
}

#[test]
fn a_megabyte_of_anything_has_a_vector() {
    for unit in ["a", " ", "京", "\u{200b}", "é", "😀", "(", "\u{1}"] {
        let text = unit.repeat(1_000_000 / unit.len());
        let encoded = of(&text);
        assert!(encoded.tokens <= MOST_TOKENS && encoded.unread_bytes <= text.len(), "{unit:?}");
        assert!((cosine(&*encoded.vector, &*encoded.vector) - 1.0).abs() < 1e-4, "{unit:?}");
    }
}

#[test]
fn a_text_in_two_parts_is_the_text() {
    let short = ("What is the capital ", "of France?");
    assert_eq!(ENCODER.encode(short.0, short.1).unwrap().vector, of("What is the capital of France?").vector,);
    assert_eq!(ENCODER.encode("", "hello").unwrap().vector, of("hello").vector);

    let words: Vec<String> = (0..2_000).map(|number| format!("word{number}")).collect();
    let text = words.join(" ");
    for cut in [0, 5, 90, 4_000, text.len() - 100, text.len()] {
        let cut = cut + text[cut..].find(' ').unwrap_or(0);
        let (head, tail) = text.split_at(cut);
        let (parts, whole) = (ENCODER.pieces.read(head, tail).unwrap(), ENCODER.pieces.read(&text, "").unwrap());
        assert_eq!((parts.ids, parts.unread_bytes), (whole.ids, whole.unread_bytes), "cut at {cut}");
    }
}

#[test]
fn the_encoder_can_be_shared() {
    fn shared<T: Send + Sync + 'static>() {}
    shared::<Encoder>();
}

/// `cargo test --release -p router latency -- --ignored --nocapture`
#[test]
#[ignore = "prints figures"]
fn latency() {
    let loading = Instant::now();
    LazyLock::force(&ENCODER);
    println!("loaded in {:?}", loading.elapsed());
    for tokens in [3, 32, 64, 107, 128] {
        let text = "hello ".repeat(tokens - 2);
        let mut took: Vec<_> = (0..200)
            .map(|_| {
                let started = Instant::now();
                assert_eq!(of(&text).tokens, tokens);
                started.elapsed()
            })
            .collect();
        took.sort();
        println!("{tokens} tokens: p50 {:?}, p90 {:?}", took[100], took[180]);
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    status
        .lines()
        .filter(|line| line.starts_with("Rss") || line.starts_with("Threads"))
        .for_each(|line| println!("{line}"));
}
