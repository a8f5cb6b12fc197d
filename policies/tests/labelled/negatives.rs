//! What looks like data, and is none.

use super::{Case, Draw, sentences};

const HEX: &str = "0123456789abcdef";

/// A name, how many, and how one is made.
type Group = (&'static str, usize, fn(&mut Draw) -> String);

/// Groups with how they are made, and how many.
const ALL: &[Group] = &[
    ("order numbers, 9 and 10 digits", 300, |draw| {
        let n = draw.of(&[9, 10]);
        sentences::order(&draw.digits(n), draw)
    }),
    ("order numbers, 11 to 13 digits", 300, |draw| {
        let n = draw.of(&[11, 12, 13]);
        sentences::order(&draw.digits(n), draw)
    }),
    ("order numbers, 16 digits", 250, |draw| sentences::order(&draw.digits(16), draw)),
    ("order numbers with marks", 250, |draw| {
        let value = match draw.below(4) {
            0 => {
                format!("20{}{}{}-{}", draw.within(20, 26), draw.of(&["01", "11"]), draw.within(10, 28), draw.digits(4))
            }
            1 => format!("{}-{}-{}", draw.digits(3), draw.digits(7), draw.digits(7)),
            2 => format!("1Z{}{}", draw.letters(6, "ABCDEFGHX0123456789"), draw.digits(10)),
            _ => format!("ORD-{}/{}", draw.digits(6), draw.digits(2)),
        };
        sentences::order(&value, draw)
    }),
    ("order numbers beside a word of context", 200, |draw| {
        let length = draw.of(&[9, 10, 11, 16]);
        let number = draw.digits(length);
        match draw.below(5) {
            0 => format!("I paid by credit card, and order {number} has not arrived."),
            1 => format!("My tax ID is on file. Where is parcel {number}?"),
            2 => format!("Please call me about order {number}."),
            3 => format!("Passport and visa are in order; the booking is {number}."),
            _ => format!("Ich habe meine Steuer-ID schon geschickt, zur Bestellung {number}."),
        }
    }),
    ("versions", 300, |draw| {
        let (a, b, c, d) = (draw.below(20), draw.below(40), draw.below(300), draw.below(100));
        match draw.below(5) {
            0 => format!("Upgrade from version {a}.{b}.{c}.{d} to {a}.{b}.{c}"),
            1 => format!("Mozilla/5.0 AppleWebKit/537.36 Chrome/1{b}.0.{c}.{d} Safari/537.36"),
            2 => format!("\"react\": \"^{a}.{b}.{c}\", \"vite\": \"~{b}.{d}\", react@{a}.{b}.{c}"),
            3 => format!("tool v{a}.{b}.{c}.{d} (build {c}{d})"),
            _ => format!("see section 3.{a}.{b}.{d} and chapter 4.1.2.3"),
        }
    }),
    ("hashes", 300, |draw| {
        let length = draw.of(&[7, 8, 9, 12, 32, 40, 64]);
        format!("commit {} fixes it, sha is {}", draw.letters(length, HEX), draw.letters(64, HEX))
    }),
    ("UUIDs", 300, |draw| {
        let id = format!(
            "{}-{}-4{}-a{}-{}",
            draw.letters(8, HEX),
            draw.letters(4, HEX),
            draw.letters(3, HEX),
            draw.letters(3, HEX),
            draw.letters(12, HEX)
        );
        format!("request {id} failed, see /api/requests/{id}")
    }),
    ("dates and times", 300, |draw| {
        let (y, m, d) = (draw.within(1950, 2026), draw.within(1, 12), draw.within(1, 28));
        let clock = format!("{:02}:{:02}:{:02}", draw.below(24), draw.below(60), draw.below(60));
        match draw.below(6) {
            0 => format!("on {y}-{m:02}-{d:02} at {clock}.{}", draw.digits(6)),
            1 => format!("{d:02}.{m:02}.{y} {clock}, {m:02}/{d:02}/{y}"),
            2 => format!("{y}{m:02}{d:02}T{}Z and {y}{m:02}{d:02}{}", draw.digits(6), draw.digits(6)),
            3 => format!("ts=17{} ({clock})", draw.digits(11)),
            4 => format!("timestamp 17{}.{}", draw.digits(8), draw.digits(6)),
            _ => format!("between {} and {} o'clock, {y}-{}", d, d + 1, y + 1),
        }
    }),
    ("code", 300, |draw| {
        let (n, m) = (draw.digits(6), draw.below(9_000));
        match draw.below(7) {
            0 => format!("let x: u64 = 0x{}; // {n}\nstd::mem::swap(&mut a[{m}], &mut b);", draw.letters(12, HEX)),
            1 => format!("@app.route(\"/v1/{n}\")\ndef f(a=1e-{m}): return a[0:16] @ b"),
            2 => format!(".c{n} {{ color: #{}; margin: 0 {m}px }} .sk-fading-circle-{m} {{}}", draw.letters(6, HEX)),
            3 => format!("SELECT * FROM orders WHERE id = {n}{n} AND total > {m}.99"),
            4 => format!(
                "git clone git@host.example:team/repo{m}.git && docker pull img@sha256:{}",
                draw.letters(64, HEX)
            ),
            5 => format!("password = os.environ[\"DB_PASSWORD\"]; url = \"postgres://user:password@localhost:{m}/db\""),
            _ => {
                format!("token = response.json()['token'] # sk-... , ghp_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx, AKIA{m}")
            }
        }
    }),
    ("tables and measures", 300, |draw| match draw.below(6) {
        0 => (0..24).map(|_| draw.digits(4)).collect::<Vec<_>>().join(" "),
        1 => (0..12).map(|_| format!("0.{}", draw.digits(16))).collect::<Vec<_>>().join(", "),
        2 => (0..16).map(|_| draw.below(1_000).to_string()).collect::<Vec<_>>().join(";"),
        3 => format!("52.{}, 13.{}", draw.digits(6), draw.digits(6)),
        4 => format!(
            "total 1.{}.{},00 EUR, before {}.{}.{}",
            draw.digits(3),
            draw.digits(3),
            draw.digits(2),
            draw.digits(3),
            draw.digits(3)
        ),
        _ => format!(
            "{} x {} px, {} dpi, ratio {}:{}",
            draw.digits(4),
            draw.digits(4),
            draw.digits(3),
            draw.below(21),
            draw.below(9)
        ),
    }),
    ("files and logs", 300, |draw| match draw.below(4) {
        0 => format!("IMG_20240115_{}.jpg logo@2x.png scan-{}.pdf", draw.digits(6), draw.digits(8)),
        1 => format!(
            "[{}] worker {} took {} ms, pid={}",
            draw.digits(5),
            draw.below(64),
            draw.below(9_000),
            draw.digits(6)
        ),
        2 => {
            format!("https://shop.example/p/{}?ref={}&page={}", draw.digits(10), draw.letters(10, HEX), draw.below(90))
        }
        _ => format!(
            "toolu_{} call_{} chatcmpl-{}",
            draw.letters(24, "0123456789abcdefghijkABCDEFGHIJK"),
            draw.letters(24, "0123456789abcdefgABCDEFG"),
            draw.letters(29, "0123456789abcdefgABCDEFG")
        ),
    }),
    ("random base64", 200, |draw| {
        draw.letters(160, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
    }),
];

/// All of them.
pub fn cases(draw: &mut Draw) -> Vec<Case> {
    let mut cases = Vec::new();
    for (group, count, make) in ALL {
        cases.extend((0..*count).map(|_| Case { text: make(draw), kind: None, group }));
    }
    cases
}
