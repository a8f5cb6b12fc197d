//! What a comparison has to know before it asks anybody.

use super::judged::Judge;
use super::{Compare, Failure, dataset, dataset::Row};
use crate::config::Settings;
use policies::ModelName;
use router::compare::judge::RUBRIC;
use router::compare::{Question, Rule};
use std::path::{Path, PathBuf};

/// What a run has to know.
pub(super) struct Plan {
    pub(super) sides: [ModelName; 2],
    /// What a side says in place of a row's system prompt.
    pub(super) systems: [Option<String>; 2],
    /// How the sides are called in what is reported.
    pub(super) names: [String; 2],
    pub(super) judge: Judge,
    pub(super) question: Question,
    pub(super) rows: Vec<Row>,
    pub(super) out: PathBuf,
}

// === impl Plan ===

impl Plan {
    /// Reads what was wanted.
    ///
    /// # Errors
    /// What cannot be meant, with its flag.
    pub(super) fn new(settings: &Settings, wanted: &Compare) -> Result<Self, Failure> {
        let known = |name: &str, flag: &str| -> Result<ModelName, Failure> {
            let first = match name {
                "local" => settings.router.local.first(),
                "hosted" => settings.router.hosted.first(),
                _ => settings.models.iter().map(|model| &model.name).find(|model| model.as_str() == name),
            };
            first.cloned().ok_or_else(|| Failure::Usage(format!("`--{flag} {name}`: no such model is configured")))
        };
        let sides = [known(&wanted.left, "left")?, known(&wanted.right, "right")?];
        let files = [&wanted.left_system, &wanted.right_system];
        let read = |file: &Option<PathBuf>, flag: &str| {
            let text = file.as_ref().map(std::fs::read_to_string).transpose();
            text.map_err(|error| Failure::Usage(format!("`{flag}`: {error}")))
        };
        let systems = [read(files[0], "--left-system")?, read(files[1], "--right-system")?];
        let names = [0, 1].map(|at| match files[at] {
            Some(file) => format!("{} ({})", sides[at], file.display()),
            None => sides[at].to_string(),
        });
        if sides[0] == sides[1] && systems[0] == systems[1] {
            return Err(Failure::Usage(format!("`{}` would be compared with itself", sides[0])));
        }
        let judge = match (wanted.judge.as_str(), &wanted.command) {
            ("command", Some(line)) => Judge::Command(line.clone(), wanted.command_timeout),
            ("command", None) => return Err(Failure::Usage("`--judge command` needs `--command LINE`".into())),
            (_, Some(_)) => return Err(Failure::Usage("`--command` goes with `--judge command`".into())),
            ("embedding", None) => Judge::Embedding,
            (word, None) => match (Rule::named(word), word.strip_prefix("model:")) {
                (Some(rule), _) => Judge::Rule(rule),
                (None, Some(name)) => {
                    let rubric = wanted.rubric.as_ref().map(std::fs::read_to_string).transpose();
                    let rubric = rubric.map_err(|error| Failure::Usage(format!("`--rubric`: {error}")))?;
                    let rubric = rubric.unwrap_or_else(|| RUBRIC.to_owned());
                    Judge::Model(known(name, "judge")?.to_string(), rubric, wanted.judge_max_tokens)
                }
                (None, None) => {
                    let text = "exact, normalised, numeric, schema, tool, embedding, command or model:NAME";
                    return Err(Failure::Usage(format!("`--judge {word}`: one of {text}")));
                }
            },
        };
        if wanted.rubric.is_some() && !judge.needs_trust() {
            return Err(Failure::Usage("`--rubric` goes with `--judge model:NAME`".into()));
        }
        let rows = dataset::read(&wanted.dataset)?;
        for row in &rows {
            judge.fits(row)?;
        }
        let out = wanted.out.clone().unwrap_or_else(|| beside(&wanted.dataset, "compare.html"));
        let question = Question { margin: wanted.margin, error: wanted.error };
        Ok(Self { sides, systems, names, judge, question, rows, out })
    }
}

/// A file's name with another ending.
pub(super) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.file_stem().unwrap_or(path.as_os_str()).to_owned();
    name.push(".");
    name.push(ending);
    path.with_file_name(name)
}
