//! What all scans share: words and beginnings of credentials, compiled once, and the forms of national identifiers by their
//! number of digits.

use super::DetectError;
use super::chain::{Form, MOST_DIGITS, Window};
use super::context::{Topics, Words};
use super::national::{ALL, National, Proof};
use super::secret::Secrets;

/// Compiled tools.
#[derive(Debug)]
pub(super) struct Tools {
    pub(super) words: Words,
    pub(super) secrets: Secrets,
    /// Forms by their number of digits: the identifier's place, the form, what it takes.
    forms: Vec<Vec<(usize, Form, Proof)>>,
}

// === impl Tools ===

impl Tools {
    pub(super) fn compile() -> Result<Self, DetectError> {
        let mut forms: Vec<Vec<(usize, Form, Proof)>> = (0..=MOST_DIGITS).map(|_| Vec::new()).collect();
        for (place, National { written, .. }) in ALL.iter().enumerate() {
            for way in *written {
                let form = Form::read(way.form);
                let digits = form.digits();
                forms[digits].push((place, form, way.proof));
            }
        }
        Ok(Self { words: Words::compile()?, secrets: Secrets::compile()?, forms })
    }

    /// The national identifier that a window is.
    pub(super) fn national(&self, window: &Window<'_>, around: impl Fn(Topics) -> bool) -> Option<&'static str> {
        self.forms.get(window.digits.len())?.iter().find_map(|(place, form, proof)| {
            let National { name, check, .. } = ALL.get(*place)?;
            if !form.fits(window) || !check(window.digits) {
                return None;
            }
            let sure = match proof {
                Proof::Form => true,
                Proof::Word => around(Topics::ID),
                Proof::OwnWord => around(Topics::SOCIAL),
            };
            sure.then_some(*name)
        })
    }
}
