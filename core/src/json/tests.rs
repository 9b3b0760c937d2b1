use serde_json::Value;

use super::*;

#[test]
fn documents_that_mean_one_thing_are_taken() {
    for text in [
        "{}",
        " \t\r\n{ } \n",
        r#"{"a":1,"b":{"a":2},"c":[{"a":1},{"a":2}]}"#,
        r#"{"a":"\ud83d\ude00 \u0000 \/ ü","A":"\\\" } ] { ["}"#,
        r#"{"":0,"\u0000":-0,"n":[1e308,-1e-400,18446744073709551616,0.1,1E+2]}"#,
        r#"{"text":"]]]]}}}}","\"":1}"#,
        "{\"\u{fffd}\":\"\u{10ffff}\u{7f}\u{2028}\"}",
    ] {
        assert!(object(text.as_bytes()).is_ok(), "{text}");
        assert_eq!(check(text.as_bytes()), Ok(()), "{text}");
    }
    for text in ["null", "true", "false", "0", "-1.5e3", "\"a\"", "[]", " [1,[2],{\"a\":[]}] "] {
        assert_eq!(object(text.as_bytes()).err(), Some(JsonError::NotAnObject), "{text}");
        assert_eq!(check(text.as_bytes()), Ok(()), "{text}");
    }
}

#[test]
fn documents_that_are_not_json_are_refused() {
    for text in ["", " ", "\n\t \r"] {
        refused(text.as_bytes(), JsonError::Empty);
    }
    for text in [
        "{",
        "}",
        "[",
        "]",
        "{}{}",
        "{} x",
        "{},",
        "[] []",
        "nul",
        "truefalse",
        "{]",
        "[}",
        "{\"a\":1",
        "{\"a\"",
        "{\"a\":",
        "{\"a\":1,}",
        "[1,]",
        "[,1]",
        "{,}",
        "{a:1}",
        "{'a':1}",
        "{1:2}",
        "{\"a\" 1}",
        "{\"a\":1 \"b\":2}",
        "[1 2]",
        "{\"a\":\"",
        "\"\\",
        "\"\\\"",
        "[01]",
        "[-]",
        "[1.]",
        "[.5]",
        "[+1]",
        "[1e]",
        "[0x1]",
        "[NaN]",
        "[Infinity]",
        "[-Infinity]",
        "[1e400]",
        "[-1e400]",
        "{\"a\":{\"b\":1e400}}",
        "1e400",
        "// c\n{}",
        "{/**/}",
        "{}\0",
        "\u{feff}{}",
        "\u{a0}{}",
        "{\"a\":\"\\x\"}",
        "{\"a\":\"\\u12g4\"}",
        "{\"a\":\"\\u123\"}",
        // Lone surrogates, in values and names, at the top and below.
        "{\"a\":\"\\ud800\"}",
        "{\"a\":\"\\udc00\"}",
        "{\"a\":\"\\ud800x\"}",
        "{\"a\":\"\\ud800\\u0041\"}",
        "{\"a\":\"\\udc00\\ud800\"}",
        "{\"\\ud800\":1}",
        "{\"a\":[{\"\\ud800\":1}]}",
        "[\"\\ud800\"]",
        "\"\\ud800\"",
        // Control characters in strings.
        "{\"a\":\"\n\"}",
        "{\"a\":\"\t\"}",
        "{\"a\":\"\0\"}",
        "{\"a\u{1}\":1}",
        "[[\"\u{1f}\"]]",
    ] {
        refused(text.as_bytes(), JsonError::Invalid);
    }
    for bytes in [
        &b"{\"a\":\"\xff\"}"[..],
        b"{\"a\":\"\xc0\xaf\"}",
        b"{\"a\":\"\xed\xa0\x80\"}",
        b"{\"a\":\"\xe2\x82\"}",
        b"{\"\x80\":1}",
        b"\xff\xfe{\0}\0",
        b"\xfe\xff\0{\0}",
        b"{\"a\":\"\xf4\x90\x80\x80\"}",
        b"{}\xff",
    ] {
        refused(bytes, JsonError::Invalid);
    }
}

#[test]
fn repeated_names_are_refused_at_every_level() {
    for text in [
        r#"{"a":1,"a":1}"#,
        r#"{"a":1,"b":2,"\u0061":3}"#,
        r#"{"x":{"a":1,"a":2}}"#,
        r#"{"x":[0,[{"b":{},"a":{},"b":{}}]]}"#,
        r#"{"":1,"":2}"#,
        r#"{"x":{"/":1,"\/":2}}"#,
        r#"{"x":{"😀":1,"\ud83d\ude00":2}}"#,
        r#"[{"a":{"a":1},"a":2}]"#,
        r#"[[[{"a":[{"a":1}],"b":0,"a":2}]]]"#,
    ] {
        refused(text.as_bytes(), JsonError::Duplicate);
    }
    for members in [2, 15, 16, 17, 18, 1_000] {
        let names: Vec<String> = (0..members).map(|index| format!("\"n{index}\":{{\"n0\":0}}")).collect();
        let list = names.join(",");
        for place in
            [format!("{{{list}}}"), format!("{{\"x\":{{{list}}}}}"), format!("{{\"x\":[{{{list}}},{{{list}}}]}}")]
        {
            assert!(object(place.as_bytes()).is_ok(), "{members}");
        }
        for repeated in [0, members / 2, members - 1] {
            let list = format!("{list},\"n{repeated}\":1");
            refused(format!("{{{list}}}").as_bytes(), JsonError::Duplicate);
            refused(format!("{{\"x\":{{{list}}}}}").as_bytes(), JsonError::Duplicate);
        }
    }
}

#[test]
fn nesting_is_taken_up_to_the_limit() {
    let arrays = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let objects = |depth: usize| format!("{}0{}", "{\"a\":".repeat(depth), "}".repeat(depth));
    let limit = limits::JSON_DEPTH;
    assert_eq!(check(arrays(limit).as_bytes()), Ok(()));
    assert!(object(objects(limit).as_bytes()).is_ok());
    assert!(object(format!("{{\"a\":{},\"b\":\"[[[\\\"[[[\"}}", arrays(limit - 1)).as_bytes()).is_ok());
    refused(arrays(limit + 1).as_bytes(), JsonError::TooDeep);
    refused(objects(limit + 1).as_bytes(), JsonError::TooDeep);
    refused(format!("{{\"a\":{}}}", arrays(limit)).as_bytes(), JsonError::TooDeep);
    refused("[".repeat(200_000).as_bytes(), JsonError::TooDeep);
    refused("{\"a\":".repeat(200_000).as_bytes(), JsonError::TooDeep);
    refused(format!("{{\"x\":{}}}", arrays(50_000)).as_bytes(), JsonError::TooDeep);
    // Repeated names are noticed at the bottom, too.
    let bottom = objects(limit - 1).replace('0', r#"{"a":1,"a":2}"#);
    refused(bottom.as_bytes(), JsonError::Duplicate);
}

#[test]
fn wide_documents_are_read() {
    let elements = format!("{{\"x\":[{}0]}}", "{\"a\":[]},".repeat(300_000));
    assert!(object(elements.as_bytes()).is_ok());
    let members = format!("{{{}\"z\":0}}", (0..200_000).map(|index| format!("\"{index}\":0,")).collect::<String>());
    assert_eq!(object(members.as_bytes()).map(|object| object.len()), Ok(200_001));
    refused("]".repeat(700_000).as_bytes(), JsonError::Invalid);
    refused(format!("[{}]", "9".repeat(700_000)).as_bytes(), JsonError::Invalid);
}

#[test]
fn members_are_found_by_their_unescaped_names() {
    let text = br#" { "m\u006fdel" : "x" , "stream":true,"list": [ 1 , 2 ] } "#;
    let object = object(text).expect("an object");
    assert_eq!(object.get("model").map(RawValue::get), Some("\"x\""));
    assert_eq!(object.get("list").map(RawValue::get), Some("[ 1 , 2 ]"));
    assert!(object.get("m\\u006fdel").is_none());
    assert_eq!(object.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["model", "stream", "list"]);
    assert!(!object.is_empty());
}

#[test]
fn rewriting_keeps_every_byte_of_kept_values() {
    let text = br#"{ "a" : 1.0 , "b":"\u0041\/" , "\"\n" : { "x" : [ ] } }"#;
    let object = object(text).expect("an object");
    let keep = rewrite(&object, |_, _| Edit::Keep, &[]);
    assert_eq!(utf8(&keep), r#"{"a":1.0,"b":"\u0041\/","\"\n":{ "x" : [ ] }}"#);
    let edit = |name: &str, value: &RawValue| match name {
        "a" => Edit::Set(format!("[{}]", value.get())),
        "b" => Edit::Drop,
        _ => Edit::Keep,
    };
    let edited = rewrite(&object, edit, &[("stream", "true"), ("q\"", "null")]);
    assert_eq!(utf8(&edited), r#"{"a":[1.0],"\"\n":{ "x" : [ ] },"stream":true,"q\"":null}"#);
    assert_eq!(rewrite(&object, |_, _| Edit::Drop, &[]), b"{}");
    assert_eq!(rewrite(&object, |_, _| Edit::Drop, &[("a", "1")]), br#"{"a":1}"#);
}

#[test]
fn stripping_removes_members_and_copies_the_rest() {
    for (text, expected) in [
        (r#"{"x":1}"#, Some("{}")),
        (r#"{ "x" : {"x":[1,{"x":2}]} }"#, Some("{  }")),
        (r#"{"x":1, "a":2}"#, Some(r#"{"a":2}"#)),
        (r#"{"a":2 , "x":1}"#, Some(r#"{"a":2 }"#)),
        (r#"{"a": 1,"x":1, "b" :2}"#, Some(r#"{"a": 1,"b" :2}"#)),
        (r#"{"x":1,"y":2,"a":3,"x2":4}"#, Some(r#"{"a":3,"x2":4}"#)),
        (r#"{"a":1,"x":[","],"y":"}"}"#, Some(r#"{"a":1}"#)),
        (r#"{"a":",\",","x":1}"#, Some(r#"{"a":",\","}"#)),
        (r#"{"x":1,"y":2}"#, Some("{}")),
        (r#"[{"a":{"x":0,"b":[{"y":1}]},"x":1}, {"x" :1,"y":2 , "c":3}]"#, Some(r#"[{"a":{"b":[{}]}}, {"c":3}]"#)),
        (r#"{"a":{"b":1},"x":{"y":1},"c":{"x":1},"y":0}"#, Some(r#"{"a":{"b":1},"c":{}}"#)),
        (r#"{"\u0078":1,"a":"\u0078"}"#, Some(r#"{"a":"\u0078"}"#)),
        (r#"{"a":"x","b":["y"],"xy":{"c":"\u0041"}}"#, None),
        (r#""x""#, None),
        ("1", None),
        ("[]", None),
    ] {
        let raw: &RawValue = serde_json::from_str(text).expect("JSON");
        assert_eq!(strip(raw, &["x", "y"]).as_deref(), expected, "{text}");
    }
    let slash: &RawValue = serde_json::from_str(r#"{"\/":1,"b":2}"#).expect("JSON");
    assert_eq!(strip(slash, &["/"]).as_deref(), Some(r#"{"b":2}"#));
    let deepest = format!("{}{{\"x\":1}}{}", "[".repeat(limits::JSON_DEPTH - 2), "]".repeat(limits::JSON_DEPTH - 2));
    let document = format!("{{\"a\":{deepest}}}");
    let raw = object(document.as_bytes()).expect("an object").get("a").expect("a member");
    assert_eq!(strip(raw, &["x"]), Some(deepest.replace("\"x\":1", "")));
}

/// Generated documents: what is taken is JSON to `serde_json` as well and the other way round, and stripping
/// agrees with removing from a tree.
#[test]
fn generated_documents_are_read_as_by_a_tree() {
    let mut random = Random(7);
    let mut taken = 0;
    for _ in 0..20_000 {
        let mut text = String::new();
        value(&mut random, 4, &mut text);
        if random.below(3) == 0 {
            damage(&mut random, &mut text);
        }
        let tree: Result<Value, _> = serde_json::from_str(&text);
        match check(text.as_bytes()) {
            Ok(()) => assert!(tree.is_ok(), "{text}"),
            // May be noticed before what is broken behind it.
            Err(JsonError::Duplicate) => {}
            Err(_) => assert!(tree.is_err(), "{text}"),
        }
        if check(text.as_bytes()).is_err() {
            continue;
        }
        taken += 1;
        let raw: &RawValue = serde_json::from_str(&text).expect("JSON");
        let mut tree = tree.expect("JSON");
        prune(&mut tree);
        let stripped = strip(raw, &["x", "\n"]);
        let text = stripped.as_deref().unwrap_or(&text);
        assert_eq!(check(text.as_bytes()), Ok(()), "{text}");
        assert_eq!(serde_json::from_str::<Value>(text).expect("JSON"), tree, "{text}");
    }
    assert!(taken > 5_000, "{taken}");
}

fn refused(bytes: &[u8], error: JsonError) {
    let text = String::from_utf8_lossy(bytes.get(..bytes.len().min(100)).unwrap_or_default());
    assert_eq!(check(bytes), Err(error), "{text}");
    assert_eq!(object(bytes).err(), Some(error), "{text}");
}

fn utf8(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("UTF-8")
}

fn prune(tree: &mut Value) {
    match tree {
        Value::Object(members) => {
            members.retain(|name, _| !["x", "\n"].contains(&name.as_str()));
            members.values_mut().for_each(prune);
        }
        Value::Array(elements) => elements.iter_mut().for_each(prune),
        _ => {}
    }
}

fn value(random: &mut Random, depth: u64, out: &mut String) {
    const SCALARS: [&str; 8] = ["0", "null", "true", "-1.5e3", "\"x\"", "\",\\\"}\"", "\"\\u0078\"", "\"{\""];
    const NAMES: [&str; 8] = ["x", "\\u0078", "\\n", "a", "b", "xx", "\\\\u0078", "c"];
    match random.below(if depth == 0 { 1 } else { 3 }) {
        0 => out.push_str(random.pick(&SCALARS)),
        1 => {
            list(random, out, ['[', ']'], |random, out| value(random, depth - 1, out));
        }
        _ => list(random, out, ['{', '}'], |random, out| {
            out.push_str(&format!("\"{}\"{}:", random.pick(&NAMES), random.pick(&["", " "])));
            value(random, depth - 1, out);
        }),
    }
}

fn list(random: &mut Random, out: &mut String, ends: [char; 2], mut item: impl FnMut(&mut Random, &mut String)) {
    out.push(ends[0]);
    for index in 0..random.below(5) {
        if index > 0 {
            out.push_str(random.pick(&[",", ", ", " ,"]));
        }
        item(random, out);
    }
    out.push_str(random.pick(&["", " "]));
    out.push(ends[1]);
}

fn damage(random: &mut Random, text: &mut String) {
    let at = usize::try_from(random.below(text.len() as u64)).expect("an index");
    if random.below(2) == 0 {
        text.remove(at);
    } else {
        text.insert_str(at, random.pick(&["{", "}", "[", "]", ",", ":", "\"", "\\", "1", " ", "x"]));
    }
}

/// xorshift64: the same cases every time.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    fn pick<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[usize::try_from(self.below(choices.len() as u64)).expect("an index")]
    }
}
