use super::*;
use crate::stores::Redis;
use policies::Period;

fn limit(text: &str) -> RateLimit {
    RateLimit::parse(text).unwrap()
}

fn list(texts: &[&str]) -> Vec<RateLimit> {
    texts.iter().copied().map(limit).collect()
}

fn of_key(texts: &[&str]) -> LimitSpecs {
    LimitSpecs { keys: vec![("k".into(), list(texts))], ..LimitSpecs::default() }
}

fn caller(key: &str, team: Option<&str>) -> Principal {
    Principal { key: Some(key.into()), team: team.map(Into::into), ..Principal::default() }
}

fn tokens(stated: u64) -> TokensWanted {
    TokensWanted { stated, guessed: 0 }
}

/// What is left of each measure, in the order of the limits.
fn left(limits: &Limits, principal: &Principal) -> Vec<u64> {
    limits.standings(principal, Instant::now()).iter().map(|standing| standing.remaining).collect()
}

fn enter(limits: &Arc<Limits>, principal: &Principal, stated: u64) -> Result<Charge, OverLimit> {
    limits.enter_here(principal, tokens(stated), Instant::now()).map(|charge| charge.expect("a limit applies"))
}

#[tokio::test(start_paused = true)]
async fn a_retry_after_exactly_the_time_that_was_said_succeeds_and_a_millisecond_earlier_does_not() {
    for (limits, taken, wanted, wait) in [
        (vec!["60 requests/minute"], vec![1; 60], 1, 1_000),
        (vec!["7 requests/second"], vec![1; 7], 1, 143),
        (vec!["600 tokens/minute"], vec![400, 150], 100, 5_000),
        (vec!["600 tokens/minute", "2 requests/minute"], vec![300, 300], 10, 30_000),
        (vec!["600 tokens/minute", "100 requests/second"], vec![600], 600, 60_000),
        (vec!["10 requests/second", "12 requests/day"], vec![1; 10], 1, 100),
    ] {
        let (specs, who) = (of_key(&limits), caller("k", None));
        let (limits, shown) = (Limits::new(&specs), format!("{limits:?}"));
        for tokens in taken {
            enter(&limits, &who, tokens).unwrap_or_else(|over| panic!("{shown}: {over}")).settle(tokens);
        }
        let before = left(&limits, &who);
        let over = enter(&limits, &who, wanted).expect_err(&shown);
        assert_eq!(left(&limits, &who), before, "{shown}: a refusal takes nothing");
        let told = over.retry_after.expect("a time");
        assert_eq!(told.as_nanos().div_ceil(1_000_000), wait, "{shown}");
        tokio::time::advance(Duration::from_millis(wait as u64 - 1)).await;
        assert!(enter(&limits, &who, wanted).is_err(), "{shown}: too early");
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(enter(&limits, &who, wanted).is_ok(), "{shown}");
    }
}

#[tokio::test(start_paused = true)]
async fn tokens_are_put_right_when_the_answer_has_ended_and_come_back_without_one() {
    let (limits, who) = (Limits::new(&of_key(&["100 tokens/minute"])), caller("k", None));
    let charge = enter(&limits, &who, 60).unwrap();
    assert_eq!(left(&limits, &who), [40], "the estimate, while it runs");
    let clone = charge.clone();
    charge.settle(20);
    drop(charge);
    clone.settle(90);
    drop(clone);
    assert_eq!(left(&limits, &who), [80], "only the first count counts");
    drop(enter(&limits, &who, 70).unwrap());
    assert_eq!(left(&limits, &who), [80], "no answer, no tokens");
    enter(&limits, &who, 10).unwrap().settle(140);
    assert_eq!(left(&limits, &who), [0]);
    let over = enter(&limits, &who, 1).unwrap_err();
    assert_eq!(over.retry_after, Some(Duration::from_millis(36_600)), "60 are owed, and one is asked for");
}

#[tokio::test(start_paused = true)]
async fn a_request_larger_than_the_bucket_is_told_so_at_once_but_a_guess_never_makes_it_so() {
    let (limits, who) = (Limits::new(&of_key(&["100 tokens/minute"])), caller("k", None));
    let over = enter(&limits, &who, 101).unwrap_err();
    assert_eq!((over.retry_after, over.needs), (None, 101));
    assert!(over.to_string().contains("never fits"), "{over}");
    let guessed = TokensWanted { stated: 80, guessed: 256 };
    let charge = limits.enter_here(&who, guessed, Instant::now()).unwrap().unwrap();
    assert_eq!(left(&limits, &who), [0], "the guess goes as far as the bucket");
    charge.settle(85);
    assert_eq!(left(&limits, &who), [15]);
}

#[tokio::test(start_paused = true)]
async fn a_team_shares_its_limit_and_a_keys_own_limit_takes_the_place_of_the_default() {
    let limits = Limits::new(&LimitSpecs {
        every_key: list(&["2 requests/minute", "1000 tokens/minute"]),
        keys: vec![("plain".into(), vec![]), ("own".into(), list(&["5 requests/minute"]))],
        teams: vec![("research".into(), list(&["4 requests/minute"]))],
    });
    for (who, least) in [
        (caller("plain", None), [2, 1_000].as_slice()),
        (caller("own", None), &[5, 1_000]),
        (caller("own", Some("research")), &[4, 1_000]),
        (caller("own", Some("other")), &[5, 1_000]),
        (Principal::default(), &[2, 1_000]),
        (caller("unknown", None), &[]),
    ] {
        assert_eq!(left(&limits, &who), least, "{who:?}");
        assert_eq!(limits.apply_to(&who), !least.is_empty(), "{who:?}");
    }
    let (one, two) = (caller("own", Some("research")), caller("plain", Some("research")));
    for who in [&one, &one, &two, &two] {
        enter(&limits, who, 1).unwrap();
    }
    let over = enter(&limits, &one, 1).unwrap_err();
    assert_eq!((over.team.as_deref(), over.limit), (Some("research"), limit("4 requests/minute")));
    assert_eq!(left(&limits, &caller("own", None)), [3, 1_000], "its own bucket lost nothing by the refusal");
    let over = enter(&limits, &two, 1).unwrap_err();
    assert_eq!((over.team, over.retry_after), (None, Some(Duration::from_secs(30))), "what lasts longest is named");
}

#[tokio::test(start_paused = true)]
async fn changed_limits_keep_what_was_taken() {
    let (limits, who) = (Limits::new(&of_key(&["10 requests/minute", "100 tokens/minute"])), caller("k", None));
    let charge = enter(&limits, &who, 60).unwrap();
    for (specs, expected) in [
        (of_key(&["10 requests/minute", "100 tokens/minute"]), [9, 40].as_slice()),
        (of_key(&["5 requests/minute", "200 tokens/minute"]), &[4, 140]),
        (of_key(&["5 requests/hour", "200 tokens/minute"]), &[5, 140]),
        (of_key(&["200 tokens/minute"]), &[140]),
    ] {
        limits.configure(&specs);
        assert_eq!(left(&limits, &who), expected, "{specs:?}");
    }
    charge.settle(10);
    assert_eq!(left(&limits, &who), [190]);
    limits.configure(&LimitSpecs::default());
    assert!(limits.enter_here(&who, tokens(1_000), Instant::now()).unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_is_counted_and_a_decision_needs_no_tokens() {
    let (limits, who) = (Limits::new(&of_key(&["3 requests/minute", "100 tokens/minute"])), caller("k", None));
    limits.count(&who, Instant::now());
    assert_eq!(left(&limits, &who), [2, 100]);
    enter(&limits, &who, 100).unwrap().settle(500);
    assert!(limits.refuses_all(&who, Instant::now()).is_some_and(|over| over.limit.measure == Metered::Tokens));
    assert!(limits.enter_here(&who, TokensWanted::default(), Instant::now()).is_ok());
    for _ in 0..5 {
        limits.count(&who, Instant::now());
    }
    let over = limits.refuses_all(&who, Instant::now()).unwrap();
    assert_eq!((over.limit.period, left(&limits, &who)), (Period::Minute, vec![0, 0]));
    tokio::time::advance(Duration::from_secs(20)).await;
    assert_eq!(left(&limits, &who)[0], 1, "they cannot dig a hole");
}

#[test]
fn many_at_once_never_pass_a_limit_together() {
    let limits = Limits::new(&of_key(&["100 requests/day", "1000 tokens/day"]));
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let (limits, who) = (limits.clone(), caller("k", None));
            std::thread::spawn(move || {
                let let_in = (0..200).filter(|_| enter(&limits, &who, 20).map(|charge| charge.settle(20)).is_ok());
                let_in.count()
            })
        })
        .collect();
    let let_in: usize = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
    assert_eq!(let_in, 50);
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_let_through_together_what_one_would() {
    let Some(mut redis) = Redis::start() else { return };
    let url = policies::Secret::new(redis.url());
    let specs = LimitSpecs {
        every_key: vec![RateLimit::parse("10 requests/hour").unwrap(), RateLimit::parse("1000 tokens/hour").unwrap()],
        ..LimitSpecs::default()
    };
    let replica = || {
        let shared = Shared::start(Shared::spec(&url, Duration::from_secs(9), "test".into()).unwrap()).unwrap();
        Limits::shared(&specs, &shared).unwrap()
    };
    let replicas = [replica(), replica()];
    let caller = Principal::default();
    let enter = async |at: usize, tokens: u64| {
        let wanted = TokensWanted { stated: tokens, guessed: 0 };
        replicas[at % 2].enter(&caller, wanted, Instant::now()).await
    };
    // Tokens that were taken and not used come back for all.
    let charge = enter(0, 900).await.unwrap().unwrap();
    let refused = enter(1, 200).await.unwrap_err();
    assert_eq!((refused.limit.measure, refused.retry_after.is_some()), (Metered::Tokens, true));
    assert_eq!(enter(1, 2_000).await.unwrap_err().retry_after, None, "never");
    charge.settle(100);
    let mut again = enter(1, 200).await;
    // The correction is told, not waited for.
    for _ in 0..1_000 {
        if again.is_ok() {
            break;
        }
        tokio::task::yield_now().await;
        again = enter(1, 200).await;
    }
    again.unwrap().unwrap().settle(0);
    let mut let_in = 2;
    for at in 0..30 {
        let_in += u32::from(enter(at, 0).await.is_ok());
    }
    assert_eq!(let_in, 10);
    for replica in &replicas {
        assert!(replica.refuses_all(&caller, Instant::now()).is_some(), "each knows it");
        assert_eq!(replica.standings(&caller, Instant::now())[0].remaining, 0);
    }
    // Without the store each counts on from what it knows.
    redis.stop();
    assert!(enter(0, 0).await.is_err() && enter(1, 0).await.is_err());
}
