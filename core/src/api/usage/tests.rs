use super::*;

const NOW: u64 = 1_760_000_030_000;

fn read(text: &str) -> Query {
    Query::read(text, NOW).unwrap_or_else(|failure| panic!("{text}: {}", failure.message))
}

fn param(text: &str) -> Option<String> {
    Query::read(text, NOW).err().map(|failure| failure.param.unwrap_or_default().into_owned())
}

#[test]
fn what_is_not_asked_for_is_ten_days_up_to_now() {
    let query = read("");
    assert_eq!(query.question.to - query.question.from, 10 * 86_400_000);
    assert!(query.question.to > NOW && query.question.to - NOW < 86_400_000);
    assert!(query.question.group_by.is_empty() && query.question.only.is_empty());
}

#[test]
fn groups_come_in_any_spelling_and_keep_theirs() {
    for text in [
        "group_by=model&group_by=user_uuid",
        "group_by=model,user_uuid",
        "group_by[]=model&group_by[]=user_uuid",
        "group_by%5B%5D=model%2Cuser_uuid&group_by=model",
    ] {
        let query = read(text);
        assert_eq!(query.names, [("model", Dimension::Model), ("user_uuid", Dimension::Key)], "{text}");
    }
    for (word, dimension) in GROUPS {
        assert_eq!(read(&format!("group_by={word}")).question.group_by, [dimension]);
    }
}

#[test]
fn a_wrong_value_is_named() {
    for (text, name) in [
        ("start_time=x", "start_time"),
        ("start_time=-1", "start_time"),
        ("start_time=+1", "start_time"),
        ("start_time=", "start_time"),
        ("end_time=253402300800", "end_time"),
        ("end_time=99999999999999999999", "end_time"),
        ("start_time=1760000000&end_time=1750000000", "end_time"),
        ("bucket_width=1w", "bucket_width"),
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=a", "limit"),
        ("group_by=user", "group_by"),
        ("group_by=", "group_by"),
        ("usage_types=chat", "usage_types"),
        ("page=1", "page"),
        ("page=1760000001", "page"),
        ("bucket_width=1m&start_time=1759999980&page=1760000061", "page"),
        ("colour=red", ""),
    ] {
        assert_eq!(param(text).as_deref(), Some(name), "{text}");
    }
    for text in ["limit=1", "limit=100", "end_time=253402300799&limit=1", "usage_types=completion,image"] {
        read(text);
    }
}

#[test]
fn a_page_is_at_most_so_many_buckets() {
    let query = read("start_time=1759990000&bucket_width=1m&limit=100");
    assert_eq!((query.question.to - query.question.from) / 60_000, 100);
    assert_eq!(query.question.from % 60_000, 0);
    assert_eq!(query.end % 60_000, 0);
    let next = read(&format!("start_time=1759990000&bucket_width=1m&limit=100&page={}", query.question.to / 1000));
    assert_eq!(next.question.from, query.question.to);
}

#[test]
fn money_is_written_as_dollars() {
    for (pico, text) in [
        (0, "0"),
        (7_500_000_000, "0.0075"),
        (1_000_000_000_000, "1"),
        (1, "1e-12"),
        (12_345_678_900_000, "12.3456789"),
    ] {
        let want: f64 = text.parse().unwrap();
        assert_eq!(dollars(pico).as_f64(), Some(want), "{pico}");
    }
}
