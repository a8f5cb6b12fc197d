//! The report: a page that a person can read, the same in words on a terminal, and as JSON.
//!
//! The page is one file: style and pictures are in it, it asks for nothing and runs nothing (its own policy says so). It is
//! light or dark as its reader wishes. Texts of answers are in it, escaped, as many as [`SHOWN`].

use super::judged::{Outcome, shown};
use super::run::Told;
use super::{Plan, Summed};
use crate::cli::say;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use router::compare::{Finding, LEAST_KAPPA, LEAST_LABELS, Trust, Verdict, pictures};
use serde_json::{Value, json};

/// Pairs that are shown whole, those that differ most first.
const SHOWN: usize = 40;

const STYLE: &str = include_str!("report.css");

/// The verdict in one sentence.
fn sentence(plan: &Plan, told: &Summed) -> String {
    let [left, right] = &plan.names;
    let summary = &told.summary;
    let margin = summary.question.margin;
    match summary.verdict {
        Verdict::NotWorse => format!("{left} is not worse than {right} by more than {margin}"),
        Verdict::Worse => format!("{left} is worse than {right} by more than {margin}"),
        Verdict::NotYetKnown => format!("whether {left} is worse than {right} by more than {margin} is not yet known"),
    }
}

/// What stands in the way of a verdict.
fn missing(told: &Summed) -> Option<String> {
    let summary = &told.summary;
    if let Some(trust) = summary.judge.as_ref().filter(|trust| !trust.granted()) {
        let why: Vec<&str> = trust.withheld.iter().map(|why| why.words()).collect();
        return Some(format!("the judge's verdict is withheld: {}", why.join("; ")));
    }
    match (summary.verdict, summary.whole.still_needed) {
        (Verdict::NotYetKnown, Some(needed)) => {
            Some(format!("about {needed} more pairs are needed, should they go on like these"))
        }
        (Verdict::NotYetKnown, None) => Some("nobody can tell how many more pairs that takes".into()),
        (Verdict::NotWorse | Verdict::Worse, _) => None,
    }
}

/// What was left out, and why.
fn left_out(plan: &Plan, told: &Summed) -> Vec<String> {
    let [left, right] = &plan.names;
    [
        (told.failed[0], format!("rows on which {left} failed count as lost by it")),
        (told.failed[1], format!("rows on which {right} failed count as lost by it")),
        (told.denied, "rows may not go to one of the sides and were not compared".into()),
        (told.in_doubt, "rows were under way when an earlier run died: not asked again (`--retry-lost`)".into()),
        (told.not_asked, "rows were not asked: the money was over, or the run was stopped".into()),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, what)| format!("{count} {what}"))
    .collect()
}

fn number(value: f64) -> String {
    format!("{value:+.3}")
}

fn interval(finding: &Finding) -> String {
    format!("{} to {}", number(finding.interval.low), number(finding.interval.high))
}

fn score(mean: Option<f64>) -> String {
    mean.map_or("-".into(), |mean| format!("{mean:.3}"))
}

fn mean(finding: &Finding) -> String {
    finding.mean.map_or("-".into(), number)
}

/// As JSON.
pub fn json(plan: &Plan, told: &Summed) -> Value {
    let [left, right] = &plan.names;
    json!({
        "left": left, "right": right, "judge": plan.judge.name(), "rows": plan.rows.len(),
        "verdict": told.summary.verdict, "sentence": sentence(plan, told), "missing": missing(told),
        "summary": told.summary,
        "failed": {"left": told.failed[0], "right": told.failed[1]},
        "denied": told.denied, "in_doubt": told.in_doubt, "not_asked": told.not_asked,
        "cost_usd": {"left": told.costs[0], "right": told.costs[1], "total": told.spent},
        "mean_score": {"left": told.scores[0], "right": told.scores[1]},
        "mean_ms": {"left": told.took[0], "right": told.took[1]},
        "versions": {"left": told.versions[0], "right": told.versions[1]},
        "report": plan.out,
    })
}

/// In words.
pub fn tell(plan: &Plan, told: &Summed) {
    let whole = &told.summary.whole;
    say(sentence(plan, told));
    missing(told).iter().for_each(say);
    say(format!(
        "{} pairs: left better {}, even {}, right better {}; mean difference {}, {:.0}% interval {}",
        whole.pairs,
        whole.tally[0],
        whole.tally[1],
        whole.tally[2],
        mean(whole),
        (1.0 - told.summary.question.error) * 100.0,
        interval(whole),
    ));
    if told.scores.iter().any(Option::is_some) {
        say(format!(
            "mean scores: {} {}, {} {}",
            plan.names[0],
            score(told.scores[0]),
            plan.names[1],
            score(told.scores[1])
        ));
    }
    for found in &told.summary.slices {
        let finding = &found.finding;
        say(format!(
            "  {:32} {:>6} pairs  {:>7}  {}  {}",
            found.slice.to_string(),
            finding.pairs,
            mean(finding),
            interval(finding),
            finding.verdict.words()
        ));
    }
    left_out(plan, told).iter().for_each(say);
    say(format!("spent ${}; report: {}", told.spent, plan.out.display()));
}

/// As a page.
pub fn page(plan: &Plan, outcomes: &[Outcome], told: &Summed) -> String {
    let [left, right] = &plan.names;
    let summary = &told.summary;
    let class = match summary.verdict {
        Verdict::NotWorse => "verdict good",
        Verdict::Worse => "verdict bad",
        Verdict::NotYetKnown => "verdict open",
    };
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:";
                title { (left) " against " (right) " - Sluice" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                main {
                    header {
                        h1 { (left) " against " (right) }
                        p class=(class) { (sentence(plan, told)) "." }
                        @if let Some(missing) = missing(told) { p { (missing) "." } }
                    }
                    (figures(plan, told))
                    @if let Some(picture) = pictures::course(summary) {
                        figure { (PreEscaped(picture)) figcaption { "The mean difference and its interval after so many pairs. It may be looked at after each of them." } }
                    }
                    (slices(told))
                    @if let Some(trust) = &summary.judge { (judge(plan, trust)) }
                    (pairs(plan, outcomes))
                    (method(plan, told))
                }
            }
        }
    };
    page.into_string()
}

fn figures(plan: &Plan, told: &Summed) -> Markup {
    let [left, right] = &plan.names;
    let whole = &told.summary.whole;
    let milliseconds = |took: Option<f64>| took.map_or("-".into(), |took| format!("{took:.0} ms"));
    html! {
        section {
            h2 { "In figures" }
            table {
                thead { tr { th scope="col" { "" } th scope="col" { (left) } th scope="col" { (right) } } }
                tbody {
                    tr { th scope="row" { "better in" } td { (whole.tally[0]) } td { (whole.tally[2]) } }
                    tr { th scope="row" { "mean score" } td { (score(told.scores[0])) } td { (score(told.scores[1])) } }
                    tr { th scope="row" { "cost of the answers" } td { "$" (told.costs[0]) } td { "$" (told.costs[1]) } }
                    tr { th scope="row" { "mean time of an answer" } td { (milliseconds(told.took[0])) } td { (milliseconds(told.took[1])) } }
                    tr { th scope="row" { "failed" } td { (told.failed[0]) } td { (told.failed[1]) } }
                    tr { th scope="row" { "the upstream calls it" } td { (told.versions[0].join(", ")) } td { (told.versions[1].join(", ")) } }
                }
            }
            p {
                (whole.pairs) " pairs of " (plan.rows.len()) " rows were judged by " (plan.judge.name()) "; even in " (whole.tally[1])
                ". Mean difference " (mean(whole)) ", interval " (interval(whole)) ". Spent in all: $" (told.spent) "."
            }
            @let left_out = left_out(plan, told);
            @if !left_out.is_empty() { ul { @for line in left_out { li { (line) } } } }
        }
    }
}

fn slices(told: &Summed) -> Markup {
    let summary = &told.summary;
    if summary.slices.is_empty() {
        return html! {};
    }
    html! {
        section {
            h2 { "Slices" }
            div class="wide" {
                table {
                    thead { tr { @for title in ["slice", "pairs", "mean", "interval", "verdict", "still needed"] { th scope="col" { (title) } } } }
                    tbody {
                        @for found in &summary.slices {
                            @let finding = &found.finding;
                            tr {
                                th scope="row" { (found.slice.to_string()) }
                                td { (finding.pairs) }
                                td { (mean(finding)) }
                                td { (interval(finding)) }
                                td { (finding.verdict.words()) }
                                td { (finding.still_needed.map_or("-".to_owned(), |needed| needed.to_string())) }
                            }
                        }
                    }
                }
            }
            @if let Some(picture) = pictures::slices(summary) {
                figure { (PreEscaped(picture)) figcaption { "The interval of each slice, with its number of pairs." } }
            }
        }
    }
}

fn judge(plan: &Plan, trust: &Trust) -> Markup {
    let kappa = match (trust.kappa, trust.kappa_interval) {
        (Some(kappa), Some((low, high))) => format!("{kappa:.2}, 95% interval {low:.2} to {high:.2}"),
        _ => "none to measure".into(),
    };
    html! {
        section {
            h2 { "The judge" }
            p {
                (plan.judge.name()) " judged " (trust.judged) " pairs in both orders, without the models' names. People judged "
                (trust.labelled) " of them; at least " (LEAST_LABELS) " are needed, and an agreement beyond chance (Cohen's kappa) that surely reaches "
                (LEAST_KAPPA) "."
            }
            ul {
                li { "kappa: " (kappa) }
                li { "both orders agree: " (trust.consistency.map_or("-".into(), |share| format!("{:.0}%", share * 100.0))) }
                li { "the first place won in both orders " (trust.by_place[0]) " times, the second " (trust.by_place[1]) }
                @for why in &trust.withheld { li { strong { "withheld: " (why.words()) } } }
            }
        }
    }
}

fn text(told: &Told) -> String {
    match told {
        Told::Answer(kept) => shown(&kept.answer),
        Told::Failed(why) => format!("(failed: {why})"),
        Told::Denied(why) => format!("(not asked: {why})"),
        Told::InDoubt => "(in doubt)".into(),
        Told::NotAsked => "(not asked)".into(),
    }
}

fn pairs(plan: &Plan, outcomes: &[Outcome]) -> Markup {
    let mut shown: Vec<&Outcome> = outcomes.iter().collect();
    let apart = |outcome: &Outcome| outcome.difference.map_or(0.0, f64::abs);
    shown.sort_by(|one, other| apart(other).total_cmp(&apart(one)).then(one.at.cmp(&other.at)));
    shown.truncate(SHOWN);
    html! {
        section {
            h2 { "Pairs" }
            p { "Those that differ most first, " (shown.len()) " of " (outcomes.len()) "." }
            @for outcome in shown {
                @let row = &plan.rows[outcome.at];
                details {
                    summary {
                        (row.id) " "
                        @match (outcome.difference, &outcome.unjudged) {
                            (Some(difference), _) => { (number(difference)) }
                            (None, why) => { "not judged: " (why.as_deref().unwrap_or("-")) }
                        }
                    }
                    pre { (row.text) }
                    @if let Some(reference) = &row.expected.reference { p { "Reference:" } pre { (reference) } }
                    div class="pair" {
                        @for (side, told) in outcome.told.iter().enumerate() {
                            div {
                                h3 { (plan.names[side]) @if let Some(scores) = outcome.scores { " " (format!("{:.2}", scores[side])) } }
                                pre { (text(told)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn method(plan: &Plan, told: &Summed) -> Markup {
    let question = told.summary.question;
    html! {
        section {
            h2 { "How to read this" }
            p {
                "Each row was answered by both models; a score of 0 to 1 each, or a preference, gives a difference. The interval is a confidence sequence: "
                "with probability " (format!("{:.0}%", (1.0 - question.error) * 100.0))
                " it holds the true mean at every look at once (Waudby-Smith and Ramdas 2024). Not worse means that the true mean lies above "
                (number(-question.margin)) ", worse that it lies below. Verdicts on slices keep the share of wrong ones at most "
                (format!("{:.0}%", question.error * 100.0)) " (e-BH, Wang and Ramdas 2022)."
            }
            p { "It speaks of rows like these, judged by " (plan.judge.name()) ", and of no others." }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::compare::judged::Judge;
    use policies::NanoDollars;
    use router::compare::{Answer, Judged, Question, Rule, Slice, Summary};

    #[test]
    fn the_page_stands_alone_and_texts_are_text() {
        let line = r#"{"id": "<b>1</b>", "prompt": "<script>alert(1)</script>", "reference": "x"}"#;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("rows.jsonl");
        std::fs::write(&file, line).unwrap();
        let question = Question { margin: 0.05, error: 0.05 };
        let plan = Plan {
            sides: ["small", "big"].map(Into::into),
            systems: [None, None],
            names: ["small", "big"].map(Into::into),
            judge: Judge::Rule(Rule::Exact),
            question,
            rows: super::super::dataset::read(&file).unwrap(),
            out: folder.path().join("report.html"),
        };
        let answer = Answer { text: "</pre><img src=x>".into(), tool_calls: None };
        let kept = super::super::state::Kept { answer, finish: None, cost_nd: Some(1), version: None, took_ms: 3 };
        let outcome = Outcome {
            at: 0,
            told: [Told::Answer(kept), Told::Failed("status 500".into())],
            scores: Some([0.0, 0.0]),
            ballot: None,
            difference: Some(0.0),
            unjudged: None,
        };
        let slices =
            |n: usize| vec![Slice { by: "kind".into(), value: if n.is_multiple_of(2) { "a" } else { "b" }.into() }];
        let judged: Vec<Judged> = (0..100).map(|n| Judged { difference: 0.0, slices: slices(n) }).collect();
        let told = Summed {
            summary: Summary::of(question, &judged, None),
            spent: NanoDollars(5),
            costs: [NanoDollars(1), NanoDollars(4)],
            failed: [0, 1],
            denied: 0,
            in_doubt: 0,
            not_asked: 0,
            scores: [Some(0.0), Some(0.0)],
            took: [Some(3.0), None],
            versions: [vec![], vec![]],
        };
        let page = page(&plan, &[outcome], &told);
        assert!(!page.contains("<script") && !page.contains("<img src=x") && !page.contains("<b>1</b>"), "{page}");
        assert!(page.matches("<svg").count() == 2 && page.contains("prefers-color-scheme: dark"));
        assert!(!page.contains("src=\"http") && !page.contains("href=\"http"), "it asks for nothing");
        assert!(page.contains("is not yet known") && page.contains("1 rows on which big failed"));
        let json = json(&plan, &told);
        assert_eq!(
            (json["verdict"].as_str(), json["cost_usd"]["total"].as_str()),
            (Some("not_yet_known"), Some("0.000000005"))
        );
    }
}
