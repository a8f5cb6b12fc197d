use super::*;
use policies::Classes;

const HEALTH: &str = "I was diagnosed with asthma last year and take prednisone every day.";
const ADDRESS: &str = "Please deliver it to 12 Maple Street, Boston, MA 02139.";
const NAME: &str = "My name is Charlotte Baker and I would like to cancel my subscription.";
const NOTHING: &str = "What are the symptoms of asthma?";

fn reader(thresholds: [Option<f32>; 3], most: usize) -> PrivateText {
    let classes = Classes::standard();
    let classes = Kind::ALL.map(|kind| classes.named(kind.usual_class()).ok());
    let reader = PrivateText::bundled(PrivateConfig { classes, thresholds, most }).unwrap();
    // Other tests of this process use the encoders, too: what is found must not depend on how busy the machine is.
    PrivateText { patience: Duration::from_secs(3_600), ..reader }
}

fn read(reader: &PrivateText, texts: &[&str]) -> TextRead {
    let mut reading = reader.begin();
    texts.iter().for_each(|text| reading.text(text));
    reading.end()
}

fn names(read: &TextRead) -> Vec<(&str, u32)> {
    read.found.iter().map(|finding| (&*finding.name, finding.count)).collect()
}

#[test]
fn what_is_in_a_text_is_named_and_counted_by_windows_and_nothing_else() {
    let reader = reader([None; 3], 64);
    for (text, wanted) in [
        (HEALTH, vec![("health_text", 1)]),
        (ADDRESS, vec![("postal_address", 1)]),
        (NAME, vec![("person_name", 1)]),
        (NOTHING, vec![]),
        ("user", vec![]),
    ] {
        let found = read(&reader, &[text]);
        assert_eq!((names(&found), found.failed, found.unread_bytes), (wanted, false, 0), "{text}");
    }
    let all = read(&reader, &[&format!("{NAME} {NOTHING} {HEALTH}"), ADDRESS, NAME]);
    assert_eq!(names(&all), [("person_name", 2), ("postal_address", 1), ("health_text", 1)]);
    assert!(!format!("{all:?} {reader:?}").contains("Charlotte"));
}

#[test]
fn what_lies_before_the_last_windows_is_not_scanned_and_a_known_window_is_not_judged_again() {
    let reader = reader([None; 3], 2);
    let short = read(&reader, &[HEALTH, NAME, ADDRESS]);
    assert_eq!(names(&short), [("person_name", 1), ("postal_address", 1)]);
    assert_eq!(short.unread_bytes, HEALTH.len() as u64);
    let kept = reader.known.generations.lock()[0].len();
    assert_eq!((kept, read(&reader, &[HEALTH, NAME, ADDRESS])), (2, short));
    assert_eq!(reader.known.generations.lock()[0].len(), kept);
}

#[test]
fn a_configured_threshold_takes_the_place_of_the_heads_own() {
    let usual = reader([None; 3], 64);
    let sure = usual.judge(NOTHING).unwrap()[Kind::HealthText.place()];
    assert!(sure < usual.threshold(Kind::HealthText), "{sure}");
    let wary = reader([None, None, Some(sure / 2.0)], 64);
    assert_eq!(names(&read(&wary, &[NOTHING])), [("health_text", 1)]);
    assert_eq!(wary.threshold(Kind::PersonName), usual.threshold(Kind::PersonName));
}

#[test]
fn memory_of_windows_is_bounded() {
    let known = Known::default();
    for key in 0..3 * KEPT as u64 {
        known.keep(key, [0.5; 3]);
    }
    let kept: usize = known.generations.lock().iter().map(HashMap::len).sum();
    assert!(kept <= 2 * KEPT && known.get(3 * KEPT as u64 - 1).is_some() && known.get(0).is_none());
}
