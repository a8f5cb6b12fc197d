//! The kinds of data that are looked for.

use serde::{Deserialize, Serialize};

/// A kind of data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A payment card's number (ISO/IEC 7812): issuer, length and Luhn.
    PaymentCard,
    /// An international bank account number (ISO 13616).
    Iban,
    /// A number that a state gives to a person.
    NationalId,
    /// A passport's number: its form, and a word that says so.
    Passport,
    /// A patient's or a file's number: its form, and a word that says so.
    MedicalRecord,
    /// A credential: keys with a known prefix, tokens, private keys, connection strings with a password.
    Secret,
    /// An e-mail address.
    Email,
    /// A telephone number: in its international form, or with a word that says so.
    Phone,
    /// An IP address of either version.
    IpAddress,
    /// A MAC address.
    MacAddress,
    /// What a configured expression or list of words looks for, by its place among them: expressions first. Only where
    /// something is located or masked; findings have its name.
    #[serde(skip)]
    Configured(u16),
}

/// The class that a kind sets where the configuration says nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sensitivity {
    /// `restricted`
    Restricted,
    /// `confidential`
    Confidential,
}

// === impl Kind ===

impl Kind {
    /// All kinds but the configured ones.
    pub const ALL: [Self; 10] = [
        Self::PaymentCard,
        Self::Iban,
        Self::NationalId,
        Self::Passport,
        Self::MedicalRecord,
        Self::Secret,
        Self::Email,
        Self::Phone,
        Self::IpAddress,
        Self::MacAddress,
    ];

    /// One kind for each label that a placeholder can have.
    pub(crate) fn labelled() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().chain([Self::Configured(0)])
    }

    /// The one kind that has its label in [`Kind::labelled`].
    pub(crate) fn as_labelled(self) -> Self {
        if let Self::Configured(_) = self { Self::Configured(0) } else { self }
    }

    /// The word in the configuration and in records.
    pub fn word(self) -> &'static str {
        match self {
            Self::PaymentCard => "payment_card",
            Self::Iban => "iban",
            Self::NationalId => "national_id",
            Self::Passport => "passport",
            Self::MedicalRecord => "medical_record",
            Self::Secret => "secret",
            Self::Email => "email",
            Self::Phone => "phone",
            Self::IpAddress => "ip_address",
            Self::MacAddress => "mac_address",
            Self::Configured(_) => "configured",
        }
    }

    /// What a placeholder calls it: `<EMAIL_1>`.
    pub fn label(self) -> &'static str {
        match self {
            Self::PaymentCard => "CARD",
            Self::Iban => "IBAN",
            Self::NationalId => "NATIONAL_ID",
            Self::Passport => "PASSPORT",
            Self::MedicalRecord => "MEDICAL_RECORD",
            Self::Secret => "SECRET",
            Self::Email => "EMAIL",
            Self::Phone => "PHONE",
            Self::IpAddress => "IP_ADDRESS",
            Self::MacAddress => "MAC_ADDRESS",
            Self::Configured(_) => "CUSTOM",
        }
    }

    /// The kind of that word.
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.word() == word)
    }

    /// How sensitive it is.
    pub fn sensitivity(self) -> Sensitivity {
        match self {
            Self::PaymentCard
            | Self::Iban
            | Self::NationalId
            | Self::Passport
            | Self::MedicalRecord
            | Self::Secret
            | Self::Configured(_) => Sensitivity::Restricted,
            Self::Email | Self::Phone | Self::IpAddress | Self::MacAddress => Sensitivity::Confidential,
        }
    }

    /// Its place in [`Kind::ALL`]; configured ones share the next.
    pub(crate) fn place(self) -> usize {
        match self {
            Self::PaymentCard => 0,
            Self::Iban => 1,
            Self::NationalId => 2,
            Self::Passport => 3,
            Self::MedicalRecord => 4,
            Self::Secret => 5,
            Self::Email => 6,
            Self::Phone => 7,
            Self::IpAddress => 8,
            Self::MacAddress => 9,
            Self::Configured(_) => Self::ALL.len(),
        }
    }
}

// === impl Sensitivity ===

impl Sensitivity {
    /// The standard class's name.
    pub fn class(self) -> &'static str {
        match self {
            Self::Restricted => "restricted",
            Self::Confidential => "confidential",
        }
    }
}
