//! Words that tell what kind of task a text is, by kind.
//!
//! Matched as whole lower-case words. The kinds are features like any other: what they mean for the need of the strong
//! model is learnt, not set here. English first, because the training rows are; the kinds that matter most in everyday
//! traffic (greeting, asking for a text, for reasons, for a proof) carry the commonest words of other languages, too.

use std::collections::HashMap;
use std::sync::LazyLock;

/// A kind of words and its name as a feature.
pub struct Kind {
    /// The feature's name.
    pub name: &'static str,
    words: &'static str,
}

/// The kinds, in the order of the bits that [`kinds_of`] gives.
pub const KINDS: [Kind; 24] = [
    Kind {
        name: "question words",
        words: "what which who whom whose when where why how qué quién cuál dónde was wer wie warum wo qui quoi quel quelle pourquoi comment cosa chi perché",
    },
    Kind {
        name: "words that ask for a calculation",
        words: "calculate compute find determine solve evaluate estimate simplify factor derive integrate sum product value calcula calcule berechne löse resuelve calculez calcola",
    },
    Kind {
        name: "words of mathematics and proofs",
        words: "prove proof show theorem lemma converge continuous matrix vector group ring polynomial integral derivative probability equation function beweise beweis demuestra démontre démontrez dimostra induction irrational prime modulo eigenvalue",
    },
    Kind {
        name: "negations and exceptions",
        words: "not except false incorrect least never no none neither nor without cannot unless nicht kein sin jamais",
    },
    Kind {
        name: "words of logic",
        words: "if then all every some only therefore implies either and or statement true premise argument conclusion",
    },
    Kind {
        name: "words of quantities",
        words: "percent percentage rate ratio average total cost price per each much many times interest dollars euros",
    },
    Kind {
        name: "units and physics",
        words: "kg g m cm mm km s ms v w j k n hz ev mol l ft lb mph btu psi watts volts meters mass force energy pressure temperature velocity speed current voltage",
    },
    Kind {
        name: "words that ask for a text",
        words: "write essay story poem create generate draft compose design plan email letter report article blog schreibe schreib escribe redacta écris rédige scrivi escreva entwirf speech proposal",
    },
    Kind {
        name: "words that ask for reasons",
        words: "explain describe discuss compare analyze analyse contrast why how justify argue reason step steps erkläre vergleiche explica compara analiza explique analyse spiega evaluate critique assess trade tradeoff tradeoffs tradeoff implications",
    },
    Kind {
        name: "words of code",
        words: "def return import function python class code int str list array string java rust sql javascript algorithm program assert print async await mutex thread struct const let var null typescript docker kubernetes regex api json",
    },
    Kind {
        name: "words of law",
        words: "court plaintiff defendant contract statute liable liability state law property action owner sued trial evidence tort clause gdpr regulation compliance",
    },
    Kind {
        name: "words of medicine",
        words: "patient year old disease cells blood symptoms treatment diagnosis physical examination medical dose mg medication",
    },
    Kind { name: "words of morals", words: "morally wrong moral scenario ethical right duty" },
    Kind { name: "superlatives", words: "most best primary primarily likely main major first greatest least" },
    Kind {
        name: "talk in the first and second person",
        words: "i you my me your please help we our ich du mein mir bitte yo mi tu je mon moi io mio eu meu",
    },
    Kind { name: "third persons", words: "he she his her him they them their" },
    Kind {
        name: "words of general knowledge",
        words: "film song movie band actor singer album show series won played team city country capital president king year war book author",
    },
    Kind {
        name: "words of several conditions",
        words: "both multiple several steps constraints must following given consider suppose assume let each different requirements exactly",
    },
    Kind {
        name: "greetings and thanks",
        words: "hi hello hey thanks thank thx bye goodbye morning evening cheers welcome hola gracias hallo danke guten moin tschüss bonjour salut merci ciao grazie oi olá obrigado obrigada привет спасибо hej tack dzień dobry merhaba selam namaste lol ok okay haha cool great nice",
    },
    Kind {
        name: "words of small rewriting",
        words: "rewrite rephrase translate spell synonym opposite shorten fix correct grammar typo typos capitalize uppercase lowercase paraphrase format convert reword übersetze traduce traduis traduci traduza korrigiere corrige corriger umformulieren antonym plural",
    },
    Kind {
        name: "words of extraction and labelling",
        words: "extract classify label sentiment positive negative category tag list names dates summarize summarise summary tldr headline title subject keywords extrahiere zusammenfassung resume resumen résume riassumi bullet",
    },
    Kind {
        name: "words of large designs",
        words: "architecture distributed scalable concurrency concurrent race deadlock consistency migration refactor optimize performance latency throughput strategy strategic roadmap architektur arquitectura invariant linearizable lock transaction transactional rollback idempotent",
    },
    Kind {
        name: "words of fault finding",
        words: "debug bug error crash traceback exception stack leak fails failing broken root cause investigate diagnose segfault panic regression flaky intermittent",
    },
    Kind {
        name: "words of thoroughness",
        words: "detail detailed comprehensive thorough thoroughly rigorous rigorously carefully in-depth exhaustive complete deep rigoros ausführlich detalladamente détaillée precise formal",
    },
];

/// Kinds that matter at the very start of a text, by their place in [`KINDS`].
pub const AT_START: [(usize, &str); 6] = [
    (0, "starts with a question word"),
    (1, "starts by asking for a calculation"),
    (8, "starts by asking for reasons"),
    (7, "starts by asking for a text"),
    (18, "starts with a greeting or thanks"),
    (19, "starts by asking for small rewriting"),
];

static WORDS: LazyLock<HashMap<&'static str, u32>> = LazyLock::new(|| {
    let mut words = HashMap::new();
    for (bit, kind) in KINDS.iter().enumerate() {
        for word in kind.words.split_whitespace() {
            *words.entry(word).or_insert(0) |= 1 << bit;
        }
    }
    words
});

/// The kinds of a lower-case word, one bit each.
pub fn kinds_of(word: &str) -> u32 {
    WORDS.get(word).copied().unwrap_or(0)
}

/// Whether a lower-case word carries grammar rather than meaning (English).
pub fn is_grammar(word: &str) -> bool {
    matches!(
        word,
        "the"
            | "of"
            | "a"
            | "an"
            | "to"
            | "and"
            | "in"
            | "is"
            | "that"
            | "it"
            | "for"
            | "on"
            | "as"
            | "with"
            | "by"
            | "at"
            | "from"
            | "be"
            | "are"
            | "was"
            | "or"
            | "which"
            | "this"
            | "what"
            | "not"
            | "if"
            | "have"
            | "has"
            | "had"
            | "were"
            | "he"
            | "his"
            | "her"
            | "she"
            | "they"
            | "their"
            | "its"
            | "i"
            | "you"
            | "your"
            | "we"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_found_and_named_once() {
        assert_eq!(kinds_of("prove"), 1 << 2);
        assert_eq!(kinds_of("how"), 1 | 1 << 8);
        assert_eq!(kinds_of("xyzzy"), 0);
        let names: std::collections::HashSet<_> = KINDS.iter().map(|kind| kind.name).collect();
        assert_eq!(names.len(), KINDS.len());
    }
}
