//! Configs that nobody means well with.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use lazyblob_remote::buildcache::{Config, MAX_CONFIG};

fn digest(number: usize) -> String {
    format!("sha256:{number:064x}")
}

fn refused(text: &str, said: &str) {
    let error = Config::parse(text.as_bytes(), "test").unwrap_err().to_string();
    assert!(error.contains(said), "{text:.200}: {error:.200}");
}

/// BuildKit row 86: circles of layers and of records, at whatever length.
#[test]
fn what_loops_or_points_outside_is_refused() {
    let (a, b) = (digest(1), digest(2));
    refused(r#"{"layers":[{"blob":"sha256:x"}]}"#, "digest");
    refused(&format!(r#"{{"layers":[{{"blob":"{a}"}}]}}"#), "stands on itself");
    refused(&format!(r#"{{"layers":[{{"blob":"{a}","parent":1}},{{"blob":"{b}"}}]}}"#), "stands on itself");
    refused(&format!(r#"{{"layers":[{{"blob":"{a}","parent":1}}]}}"#), "names parent 1");
    refused(&format!(r#"{{"layers":[{{"blob":"{a}","parent":-2}}]}}"#), "names parent -2");
    let record = |rest: &str| format!(r#"{{"records":[{{"digest":"{a}"{rest}}}]}}"#);
    refused(&record(r#","inputs":[[{"link":0}]]"#), "lead in circles");
    refused(&record(r#","inputs":[[{"link":1}]]"#), "names link 1");
    refused(&record(r#","inputs":[[{"link":-1}]]"#), "invalid value");
    refused(&record(r#","inputs":[[]]"#), "without a way");
    refused(&record(r#","layers":[{"layer":0,"createdAt":"2026-01-01T00:00:00Z"}]"#), "names layer 0");
    refused(&record(r#","chains":[{"layers":[0],"createdAt":"2026-01-01T00:00:00Z"}]"#), "names layer 0");
    refused(&record(r#","layers":[{"layer":0,"createdAt":"yesterday"}]"#), "no time");
    let two = format!(
        r#"{{"records":[{{"digest":"{a}","inputs":[[{{"link":1}}]]}},{{"digest":"{b}","inputs":[[{{"link":0}}]]}}]}}"#
    );
    refused(&two, "lead in circles");
    for broken in ["", "null", "7", "{", r#"{"records":7}"#, r#"{"records":[{}]}"#] {
        assert!(Config::parse(broken.as_bytes(), "test").is_err(), "{broken}");
    }
    assert_eq!(Config::parse(b"{}", "test").unwrap(), Config::default());
    assert_eq!(Config::parse(br#"{"layers":null,"records":null}"#, "test").unwrap(), Config::default());
}

#[test]
fn what_is_too_much_is_refused_before_it_is_read() {
    let long = " ".repeat(usize::try_from(MAX_CONFIG).unwrap() + 1);
    refused(&long, "past the limit");
    // Short ones that would take many times their size in memory.
    let many = format!(r#"{{"records":[{{"inputs":[{}[]]}}]}}"#, "[],".repeat(4_000_000));
    refused(&many, "more than 5000000 values");
    let nested = "[".repeat(3_000_000);
    assert!(Config::parse(nested.as_bytes(), "test").is_err());
}

/// A chain of 100 000 takes no stack, and a time that is linear.
#[test]
fn deep_chains_are_read_sorted_and_written() {
    const DEEP: usize = 100_000;
    let mut text = String::from(r#"{"layers":["#);
    for at in 0..DEEP {
        let comma = if at == 0 { "" } else { "," };
        // Each stands on the next one.
        let parent = if at + 1 == DEEP { -1 } else { i64::try_from(at + 1).unwrap() };
        write!(text, r#"{comma}{{"blob":"{}","parent":{parent}}}"#, digest(at)).unwrap();
    }
    text.push_str(r#"],"records":["#);
    for at in 0..DEEP {
        let comma = if at == 0 { "" } else { "," };
        write!(text, r#"{comma}{{"digest":"{}""#, digest(at)).unwrap();
        if at + 1 < DEEP {
            write!(text, r#","inputs":[[{{"link":{}}}]]"#, at + 1).unwrap();
        }
        text.push('}');
    }
    text.push_str("]}");
    let begun = Instant::now();
    let config = Config::parse(text.as_bytes(), "deep").unwrap();
    assert_eq!(config.stack(0).len(), DEEP);
    assert_eq!(config.inputs_first().unwrap()[0], DEEP - 1);
    assert_eq!(config.clone().sorted(), config);
    assert_eq!(config.to_json().unwrap(), text);
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
}

/// Tens of megabytes of what a real cache has are read.
#[test]
fn tens_of_megabytes_are_read() {
    const RECORDS: usize = 120_000;
    let mut text = String::from(r#"{"records":["#);
    for at in 0..RECORDS {
        let comma = if at == 0 { "" } else { "," };
        let below = at / 2;
        write!(text, r#"{comma}{{"digest":"{}""#, digest(at)).unwrap();
        if at > 0 {
            let selector = digest(at % 7);
            write!(text, r#","inputs":[[{{"link":0}},{{"selector":"{selector}","link":{below}}}]]"#).unwrap();
        }
        text.push('}');
    }
    text.push_str("]}");
    assert!(text.len() > 20_000_000, "{}", text.len());
    assert_eq!(Config::parse(text.as_bytes(), "large").unwrap().records.len(), RECORDS);
}
