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
    /// All kinds.
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
        }
    }

    /// The kind of that word.
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.word() == word)
    }

    /// How sensitive it is.
    pub fn sensitivity(self) -> Sensitivity {
        match self {
            Self::PaymentCard | Self::Iban | Self::NationalId | Self::Passport | Self::MedicalRecord | Self::Secret => {
                Sensitivity::Restricted
            }
            Self::Email | Self::Phone | Self::IpAddress | Self::MacAddress => Sensitivity::Confidential,
        }
    }

    /// Its place in [`Kind::ALL`].
    pub(crate) fn place(self) -> usize {
        self as usize
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
