//! Sentences of eight languages and some more, written for the purpose.

use super::Draw;

/// What a language calls a thing.
fn labels(language: &str, label: &str) -> &'static [&'static str] {
    match (language, label) {
        ("en", "card") => &["my card number is", "please charge my Visa", "Card:"],
        ("de", "card") => &["meine Kreditkarte lautet", "Kartennummer:"],
        ("fr", "card") => &["ma carte bancaire :", "numéro de carte"],
        ("es", "card") => &["mi tarjeta es", "número de tarjeta:"],
        ("it", "card") => &["la mia carta di credito è", "Carta:"],
        ("nl", "card") => &["mijn creditcard is", "Kaartnummer:"],
        ("pl", "card") => &["moja karta to", "numer karty:"],
        ("pt", "card") => &["o meu cartão é", "número do cartão:"],
        (_, "iban") => &["IBAN", "account:", "Konto", "compte", "cuenta", "conto", "rekening", "konto", "conta"],
        ("en", "id") => &["my national ID is", "Tax ID:", "NHS / SSN / SIN / Aadhaar / ID number:", "personal number"],
        ("de", "id") => &["meine Steuer-ID ist", "Identifikationsnummer:", "AHV-Nummer"],
        ("fr", "id") => &["mon numéro de sécurité sociale est le", "NIR :", "numéro de registre national"],
        ("es", "id") => &["mi DNI es", "documento de identidad:", "NIF"],
        ("it", "id") => &["il mio codice fiscale è", "Codice fiscale:"],
        ("nl", "id") => &["mijn BSN is", "burgerservicenummer:", "rijksregisternummer"],
        ("pl", "id") => &["mój PESEL to", "numer PESEL:"],
        ("pt", "id") => &["o meu número de contribuinte é", "NIF:", "meu CPF é"],
        ("sv", "id") => &["mitt personnummer är", "Personnummer:"],
        ("fi", "id") => &["henkilötunnukseni on", "Hetu:"],
        ("tr", "id") => &["TC kimlik numaram", "T.C. Kimlik No:"],
        ("zh", "id") => &["我的身份证号码是", "身份证号："],
        ("en", "passport") => &["my passport number is", "Passport No."],
        ("de", "passport") => &["meine Reisepassnummer ist", "Reisepass:"],
        ("fr", "passport") => &["mon passeport est le", "Passeport n°"],
        ("es", "passport") => &["mi pasaporte es", "Pasaporte:"],
        ("it", "passport") => &["il mio passaporto è", "Passaporto n."],
        ("nl", "passport") => &["mijn paspoortnummer is", "Paspoort:"],
        ("pl", "passport") => &["mój paszport ma numer", "Paszport:"],
        ("pt", "passport") => &["o meu passaporte é", "Passaporte:"],
        ("en", "medical") => &["the patient's MRN is", "Medical record number:", "Patient ID"],
        ("de", "medical") => &["die Patientennummer lautet", "Fallnummer:"],
        ("fr", "medical") => &["le numéro de dossier est", "Dossier médical"],
        ("es", "medical") => &["la historia clínica número", "Número de paciente:"],
        ("it", "medical") => &["la cartella clinica n.", "Numero paziente:"],
        ("nl", "medical") => &["het patiëntnummer is", "Dossiernummer:"],
        ("pl", "medical") => &["numer pacjenta to", "historia choroby nr"],
        ("pt", "medical") => &["o prontuário número", "Número do paciente:"],
        ("en", "phone") => &["call me at", "Phone:", "my mobile is"],
        ("de", "phone") => &["ruf mich an unter", "Telefon:", "meine Handynummer ist"],
        ("fr", "phone") => &["appelez-moi au", "Téléphone :"],
        ("es", "phone") => &["llámame al", "Teléfono:", "mi móvil es"],
        ("it", "phone") => &["chiamami al", "Telefono:", "cellulare"],
        ("nl", "phone") => &["bel me op", "Telefoonnummer:"],
        ("pl", "phone") => &["zadzwoń pod", "Telefon:"],
        ("pt", "phone") => &["ligue para", "Telefone:", "telemóvel"],
        ("en", "machine") => &["the server answers at", "connect to host", "blocked"],
        (_, "machine") => &["Server", "serveur", "servidor", "adres", "ping"],
        ("en", "email") => &["write to", "E-mail:"],
        (_, "email") => &["E-Mail:", "courriel", "correo", "scrivi a", "mail naar", "napisz do", "escreva para"],
        (_, "key") => &[
            "the token is",
            "key:",
            "export TOKEN=",
            "Schlüssel",
            "clé",
            "clave",
            "chiave",
            "sleutel",
            "klucz",
            "chave",
        ],
        _ => &["number"],
    }
}

/// What else stands in the message.
fn filler(language: &str) -> (&'static str, &'static str) {
    match language {
        "de" => {
            ("Guten Tag, ich habe eine Frage zu meinem Vertrag.", "Können Sie mir bitte bis Freitag helfen? Danke!")
        }
        "fr" => ("Bonjour, je vous écris au sujet de ma demande.", "Merci de me répondre avant vendredi."),
        "es" => ("Hola, tengo una pregunta sobre mi contrato.", "¿Me puede ayudar antes del viernes? Gracias."),
        "it" => ("Buongiorno, ho una domanda sul mio contratto.", "Potete aiutarmi entro venerdì? Grazie."),
        "nl" => ("Goedendag, ik heb een vraag over mijn contract.", "Kunt u mij voor vrijdag helpen? Bedankt."),
        "pl" => ("Dzień dobry, mam pytanie o moją umowę.", "Czy może mi Pan pomóc do piątku? Dziękuję."),
        "pt" => ("Bom dia, tenho uma pergunta sobre o meu contrato.", "Pode ajudar-me até sexta-feira? Obrigado."),
        "sv" => ("Hej, jag har en fråga om mitt avtal.", "Kan ni hjälpa mig före fredag? Tack."),
        "fi" => ("Hei, minulla on kysymys sopimuksestani.", "Voitteko auttaa ennen perjantaita? Kiitos."),
        "tr" => ("Merhaba, sözleşmem hakkında bir sorum var.", "Cuma gününe kadar yardım eder misiniz? Teşekkürler."),
        "zh" => ("您好，我想咨询一下合同的问题。", "请在周五之前回复我，谢谢。"),
        _ => ("Hello, I have a question about my contract.", "Can you help me before Friday? Thanks."),
    }
}

/// A message in one of the languages that names the thing.
pub fn around(label: &str, languages: &[&str], value: &str, draw: &mut Draw) -> String {
    let language = draw.of(languages);
    let said = draw.of(labels(language, label));
    let (before, after) = filler(language);
    match draw.below(5) {
        0 => format!("{said} {value}"),
        1 => format!("{before} {said} {value}. {after}"),
        2 => format!("{before}\n\n{said}\t{value}\n{after}"),
        3 => format!("{{\"note\": \"{said} {value}\", \"language\": \"{language}\"}}"),
        _ => format!("{after} ({said} {value}) {before}"),
    }
}

/// A message that names nothing.
pub fn neutral(value: &str, draw: &mut Draw) -> String {
    let (before, after) = filler(draw.of(&["en", "de", "fr", "es", "it", "nl", "pl", "pt"]));
    format!("{before} {value} {after}")
}

/// An order's number in one of the languages.
pub fn order(value: &str, draw: &mut Draw) -> String {
    let (language, said) = draw.of(&[
        ("en", "My order number is"),
        ("en", "Tracking number:"),
        ("en", "Invoice"),
        ("de", "Bestellnummer"),
        ("de", "Rechnung Nr."),
        ("fr", "Numéro de commande :"),
        ("fr", "Facture"),
        ("es", "Número de pedido:"),
        ("es", "Factura"),
        ("it", "Numero d'ordine:"),
        ("it", "Fattura"),
        ("nl", "Bestelnummer:"),
        ("nl", "Factuur"),
        ("pl", "Numer zamówienia:"),
        ("pl", "Faktura"),
        ("pt", "Número da encomenda:"),
        ("pt", "Fatura"),
    ]);
    let (before, after) = filler(language);
    format!("{before} {said} {value}. {after}")
}
