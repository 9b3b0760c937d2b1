use super::*;

#[test]
fn public_https_urls_are_taken_and_normalised() {
    for (text, expected) in [
        ("https://api.openai.com", "https://api.openai.com"),
        ("https://api.openai.com/", "https://api.openai.com"),
        ("https://api.openai.com/v1", "https://api.openai.com/v1"),
        ("https://api.openai.com/v1/", "https://api.openai.com/v1"),
        ("HTTPS://API.OpenAI.COM:443/V1", "https://api.openai.com/V1"),
        ("https://api.openai.com:8443/a-b/_c~/d.e/f:g@h", "https://api.openai.com:8443/a-b/_c~/d.e/f:g@h"),
        ("https://eu-de.ml.cloud.ibm.com/ml/v1", "https://eu-de.ml.cloud.ibm.com/ml/v1"),
        ("https://my_resource.openai.azure.com/openai", "https://my_resource.openai.azure.com/openai"),
        ("https://a.b/...", "https://a.b/..."),
        ("https://a.b/.well-known/..x", "https://a.b/.well-known/..x"),
        ("https://a.b/caf%C3%A9/x%20y", "https://a.b/caf%C3%A9/x%20y"),
        ("https://localhost.example.com", "https://localhost.example.com"),
        ("https://internal.example.com", "https://internal.example.com"),
        ("https://10.example.com", "https://10.example.com"),
        ("https://127.0.0.1.nip.io", "https://127.0.0.1.nip.io"),
        ("https://xn--caf-dma.example", "https://xn--caf-dma.example"),
    ] {
        let url = judge(text, &AllowedOrigins::default()).map_err(|refusal| format!("{text}: {refusal}"));
        let url = url.expect("a public URL");
        assert_eq!(url.as_str(), expected);
        assert_eq!(url.to_string(), expected);
        assert!(!url.private_allowed());
        assert_eq!(judge(expected, &AllowedOrigins::default()), Ok(url), "normalised once");
    }
}

#[test]
fn every_other_spelling_is_refused() {
    use Refusal::*;
    let nobody = AllowedOrigins::default();
    let elsewhere =
        AllowedOrigins::parse("http://127.0.0.2 https://10.0.0.1:8443 http://metadata:80").expect("origins");
    let rows = [
        // Addresses in all spellings.
        ("https://127.0.0.1", Address),
        ("https://127.0.0.1:8080/v1", Address),
        ("https://127.1", Address),
        ("https://127.0.1", Address),
        ("https://2130706433", Address),
        ("https://0x7f000001", Address),
        ("https://0x7f.0.0.1", Address),
        ("https://0x7F.1", Address),
        ("https://017700000001", Address),
        ("https://0177.0.0.01", Address),
        ("https://0177.0x0.0.1", Address),
        ("https://0", Address),
        ("https://0.0.0.0", Address),
        ("https://0x", Address),
        ("https://10.0.0.1", Address),
        ("https://10.1", Address),
        ("https://100.64.0.1", Address),
        ("https://169.254.169.254/latest/meta-data", Address),
        ("https://0xa9fea9fe", Address),
        ("https://2852039166", Address),
        ("https://0251.0376.0251.0376", Address),
        ("https://169.254.43518", Address),
        ("https://169.254.170.2", Address),
        ("https://172.16.0.1", Address),
        ("https://192.168.1.1", Address),
        ("https://255.255.255.255", Address),
        ("https://4294967295", Address),
        ("https://4294967296", Address),
        ("https://256.0.0.1", Address),
        ("https://1.2.3.4.5", Address),
        ("https://a.b.0x1", Address),
        ("https://a.1", Address),
        ("https://8.8.8.8", Address),
        ("https://[::1]", Address),
        ("https://[::1]:8443/v1", Address),
        ("https://[::]", Address),
        ("https://[0:0:0:0:0:0:0:1]", Address),
        ("https://[0000:0000::0001]", Address),
        ("https://[::127.0.0.1]", Address),
        ("https://[::ffff:127.0.0.1]", Address),
        ("https://[::ffff:7f00:1]", Address),
        ("https://[::FFFF:169.254.169.254]", Address),
        ("https://[64:ff9b::a9fe:a9fe]", Address),
        ("https://[64:ff9b::169.254.169.254]", Address),
        ("https://[2002:7f00:1::]", Address),
        ("https://[fd00:ec2::254]", Address),
        ("https://[fe80::1]", Address),
        ("https://[fe80::1%25eth0]", Address),
        ("https://[fe80::1%eth0]", Address),
        ("https://[2606:4700:4700::1111]", Address),
        ("https://[v1.x]", Address),
        ("https://[]", Address),
        ("https://[1]", Address),
        // Names that are not public.
        ("https://localhost", NotPublic),
        ("https://LOCALHOST:443", NotPublic),
        ("https://a.localhost", NotPublic),
        ("https://localhost.localdomain", NotPublic),
        ("https://metadata", NotPublic),
        ("https://instance-data", NotPublic),
        ("https://metadata.google.internal", NotPublic),
        ("https://Metadata.Google.Internal/computeMetadata/v1", NotPublic),
        ("https://ip-10-0-0-1.ec2.internal", NotPublic),
        ("https://printer.local", NotPublic),
        ("https://router.home.arpa", NotPublic),
        ("https://1.0.0.127.in-addr.arpa", NotPublic),
        ("https://x.onion", NotPublic),
        ("https://x.test", NotPublic),
        ("https://x.invalid", NotPublic),
        ("https://nas.lan", NotPublic),
        ("https://intranet.corp", NotPublic),
        ("https://kubernetes.default.svc", NotPublic),
        ("https://api.default.svc.cluster.local", NotPublic),
        // Hosts that are no plain names.
        ("https://", Host),
        ("https:///v1", Host),
        ("https://:443", Host),
        ("https://.", Host),
        ("https://a..b", Host),
        ("https://.a.b", Host),
        ("https://a.b.", Host),
        ("https://localhost.", Host),
        ("https://127.0.0.1.", Host),
        ("https://%6c%6f%63alhost", Host),
        ("https://127.0.0.%31", Host),
        ("https://a%2eb", Host),
        ("https://a%00.b", Host),
        ("https://*.b", Host),
        ("https://a,b.c", Host),
        ("https://a.b;c", Host),
        ("https://xn--.b", Host),
        // Outside of printable ASCII.
        ("https://１２７.0.0.1", Characters),
        ("https://①②⑦.⓪.⓪.①", Characters),
        ("https://127。0。0。1", Characters),
        ("https://ⓛocalhost", Characters),
        ("https://ex\u{ad}ample.com", Characters),
        ("https://café.example", Characters),
        ("https://a.b/é", Characters),
        (" https://a.b", Characters),
        ("https://a.b ", Characters),
        ("https://a.b\n", Characters),
        ("https://a.b\r\nHost: x", Characters),
        ("ht\ttps://a.b", Characters),
        ("https://a.b/\0", Characters),
        ("https://a.b\u{7f}", Characters),
        ("https:\\\\a.b", Characters),
        ("https://a.b\\@c.d", Characters),
        ("https://a.b/..\\x", Characters),
        // Schemes and shapes.
        ("http://a.b", Scheme),
        ("http://127.0.0.1", Scheme),
        ("http://localhost:2773", Scheme),
        ("ftp://a.b", Scheme),
        ("file:///etc/passwd", Scheme),
        ("gopher://a.b:70/_x", Scheme),
        ("javascript:alert(1)", Scheme),
        ("data:text/plain,x", Scheme),
        ("ws://a.b", Scheme),
        ("unix:/run/x.sock", Scheme),
        ("a.b:443", Scheme),
        ("", Malformed),
        ("a.b", Malformed),
        ("//a.b", Malformed),
        ("/v1", Malformed),
        ("https:a.b", Malformed),
        ("https:/a.b", Malformed),
        ("https://[::1", Malformed),
        ("https://[::1]x", Malformed),
        // User names, queries, fragments, ports.
        ("https://user@a.b", UserInfo),
        ("https://user:secret@a.b", UserInfo),
        ("https://@a.b", UserInfo),
        ("https://a.b@127.0.0.1", UserInfo),
        ("https://a.b:443@c.d:443", UserInfo),
        ("https://a.b?x=1", Query),
        ("https://a.b/?", Query),
        ("https://a.b/v1?key=x", Query),
        ("https://a.b#x", Fragment),
        ("https://a.b/#", Fragment),
        ("https://a.b#@c.d", Fragment),
        ("https://a.b/?x#y", Fragment),
        ("https://a.b:0", Port),
        ("https://a.b:", Port),
        ("https://a.b:65536", Port),
        ("https://a.b:4294967739", Port),
        ("https://a.b:0443", Port),
        ("https://a.b:+443", Port),
        ("https://a.b:x", Port),
        ("https://a.b:1:2", Port),
        ("https://::1", Port),
        // Paths.
        ("https://a.b/..", DotSegment),
        ("https://a.b/.", DotSegment),
        ("https://a.b/v1/../x", DotSegment),
        ("https://a.b/v1/./x", DotSegment),
        ("https://a.b/v1/../", DotSegment),
        ("https://a.b/%2e%2e/x", DotSegment),
        ("https://a.b/%2E./x", DotSegment),
        ("https://a.b/x/.%2e", DotSegment),
        ("https://a.b/..%2fx", DotSegment),
        ("https://a.b/x%2f..%5cy", DotSegment),
        ("https://a.b/%252e%252e/x", Path),
        ("https://a.b//v1", Path),
        ("https://a.b//", Path),
        ("https://a.b/v1//", Path),
        ("https://a.b/a%2fb", Path),
        ("https://a.b/a%5Cb", Path),
        ("https://a.b/%00", Path),
        ("https://a.b/%0d%0a", Path),
        ("https://a.b/%", Path),
        ("https://a.b/%4", Path),
        ("https://a.b/%zz", Path),
        ("https://a.b/a|b", Path),
        ("https://a.b/{x}", Path),
        ("https://a.b/\"x\"", Path),
        ("https://a.b/%3fx%23", Path),
    ];
    for (text, refusal) in rows {
        assert_eq!(judge(text, &nobody), Err(refusal), "{text:?}");
        assert_eq!(judge(text, &elsewhere), Err(refusal), "{text:?}");
        assert!(text.is_empty() || !refusal.to_string().contains(text));
    }
}

#[test]
fn long_urls_and_names_are_refused() {
    let nobody = AllowedOrigins::default();
    let start = "https://a.b/";
    let longest = format!("{start}{}", "x".repeat(limits::URL_BYTES - start.len()));
    assert_eq!(judge(&longest, &nobody).map(|url| url.as_str().len()), Ok(limits::URL_BYTES));
    assert_eq!(judge(&format!("{longest}x"), &nobody), Err(Refusal::TooLong));
    assert!(Refusal::TooLong.to_string().contains(&limits::URL_BYTES.to_string()));
    assert!(judge(&format!("https://{}.b", "x".repeat(63)), &nobody).is_ok());
    assert_eq!(judge(&format!("https://{}.b", "x".repeat(64)), &nobody), Err(Refusal::Host));
    let name = format!("{}c", "x.".repeat(126));
    assert!(judge(&format!("https://{name}"), &nobody).is_ok());
    assert_eq!(judge(&format!("https://{name}d"), &nobody), Err(Refusal::Host));
}

#[test]
fn the_operator_opens_exact_origins_alone() {
    let list =
        " http://127.0.0.1:9000\thttp://localhost:8080/  https://allowed.internal http://[::1]:7000 http://10.0.0.1 ";
    let allowed = AllowedOrigins::parse(list).expect("origins");
    for (text, expected) in [
        ("http://127.0.0.1:9000", "http://127.0.0.1:9000"),
        ("http://127.0.0.1:9000/v1/", "http://127.0.0.1:9000/v1"),
        ("http://127.1:9000/v1", "http://127.0.0.1:9000/v1"),
        ("http://LocalHost:8080/v1", "http://localhost:8080/v1"),
        ("https://allowed.internal:443", "https://allowed.internal"),
        ("http://[0::1]:7000", "http://[::1]:7000"),
        ("http://10.0.0.1:80", "http://10.0.0.1"),
    ] {
        let url = judge(text, &allowed).expect("an open origin");
        assert_eq!((url.as_str(), url.private_allowed()), (expected, true));
        assert_eq!(serde_json::to_string(&url).expect("a string"), format!("\"{expected}\""));
    }
    for text in [
        "http://127.0.0.1:9001",
        "http://127.0.0.1:900",
        "http://127.0.0.1",
        "https://127.0.0.1:9000",
        "http://127.0.0.2:9000",
        "http://127.0.0.1:9000@a.b",
        "http://user@127.0.0.1:9000",
        "http://127.0.0.1:9000?x",
        "http://127.0.0.1:9000/../x",
        "http://127.0.0.1:9000.a.b",
        "http://localhost.:8080",
        "http://localhost",
        "http://allowed.internal",
        "https://allowed.internal:8443",
        "https://allowed.internal.evil",
        "https://x.allowed.internal",
        "https://allowed.internal.",
        "http://[::1]:7001",
        "http://[::ffff:127.0.0.1]:9000",
        "https://10.0.0.1",
        "http://allowed.internal.evil.test",
    ] {
        let public = text == "https://allowed.internal.evil";
        assert_eq!(judge(text, &allowed).map(|url| url.private_allowed()).ok(), public.then_some(false), "{text}");
    }
    let public = judge("https://api.openai.com", &allowed).expect("a public URL");
    assert!(!public.private_allowed());
    let named = AllowedOrigins::parse("https://api.openai.com").expect("origins");
    assert!(judge("https://api.openai.com/v1", &named).expect("an open origin").private_allowed());
}

#[test]
fn origins_that_are_not_exact_are_refused_by_position() {
    for (list, position) in [
        ("*", 1),
        ("http://a.b *", 2),
        ("http://a.b http://c.d http://*.e", 3),
        ("http://a.b/v1", 1),
        ("http://a.b//", 1),
        ("http://a.b?x", 1),
        ("http://user@a.b", 1),
        ("a.b", 1),
        ("ftp://a.b", 1),
        ("http://", 1),
        ("http://a.b:0", 1),
        ("http://a.b,http://c.d", 1),
        ("http://a.b.", 1),
        ("http://café", 1),
        ("null", 1),
    ] {
        let error = AllowedOrigins::parse(list).expect_err(list);
        assert_eq!(error, format!("entry {position} is not an exact origin such as http://127.0.0.1:8080"));
    }
    assert_eq!(AllowedOrigins::parse(" \n "), Ok(AllowedOrigins::default()));
}

#[test]
fn paths_are_joined_below_the_base_alone() {
    let nobody = AllowedOrigins::default();
    for (base, path, expected) in [
        ("https://a.b/v1/", "/chat/completions", "https://a.b/v1/chat/completions"),
        ("https://a.b", "/v1/models", "https://a.b/v1/models"),
        ("https://a.b:8443/x", "/y?api-version=2024-10-21", "https://a.b:8443/x/y?api-version=2024-10-21"),
        ("https://a.b", "/model/arn%3Aaws%2Fx%25/invoke", "https://a.b/model/arn%3Aaws%2Fx%25/invoke"),
        ("https://a.b/v1", "/", "https://a.b/v1/"),
    ] {
        let base = judge(base, &nobody).expect("a public URL");
        assert_eq!(join(&base, path).map(|uri| uri.to_string()), Ok(expected.to_owned()));
    }
    for base in ["https://a.b", "https://a.b/v1", "https://a.b:8443/v1"] {
        let base = judge(base, &nobody).expect("a public URL");
        for path in [
            "",
            "x",
            "É",
            "Aé",
            "@c.d/x",
            ".c.d/x",
            ":1/x",
            "//c.d/x",
            "/\\c.d",
            "/..",
            "/../x",
            "/x/..",
            "/x/../../y",
            "/./x",
            "/%2e%2e/x",
            "/x/%2E%2E",
            "/.%2e/x",
            "/x#y",
            "/x y",
            "/x\r\ny",
            "/x\ty",
            "/é",
            "/\0",
            "?x",
            "#x",
            "\\c.d",
            "/x\\y",
        ] {
            assert_eq!(join(&base, path), Err(Refusal::Segment), "{base} {path:?}");
        }
    }
}

#[test]
fn identifiers_become_one_segment() {
    for (id, expected) in [
        ("gpt-4o", "gpt-4o"),
        ("anthropic.claude-3-5-sonnet-20241022-v2:0", "anthropic.claude-3-5-sonnet-20241022-v2%3A0"),
        (
            "arn:aws:bedrock:us-east-1:1:inference-profile/x",
            "arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-profile%2Fx",
        ),
        ("a?b#c%d", "a%3Fb%23c%25d"),
        ("a%2fb", "a%252fb"),
        ("a b\\c+d&e=f", "a%20b%5Cc%2Bd%26e%3Df"),
        ("é\n", "%C3%A9%0A"),
        ("...", "..."),
        ("a..b/..c/.d", "a..b%2F..c%2F.d"),
        ("_~-.x", "_~-.x"),
    ] {
        assert_eq!(segment(id).as_deref(), Ok(expected));
        let base = judge("https://a.b/v1", &AllowedOrigins::default()).expect("a public URL");
        let path = format!("/model/{expected}/invoke");
        assert_eq!(join(&base, &path).map(|uri| uri.path().to_owned()), Ok(format!("/v1{path}")));
    }
    for id in [
        "", ".", "..", "../x", "x/..", "x/../y", "./x", "x/.", "..\\x", "x\\..", "%2e%2e", "%2E.", "x%2f..", "..%5cx",
        "/..",
    ] {
        assert_eq!(segment(id), Err(Refusal::Segment), "{id:?}");
    }
}

#[test]
fn downloads_follow_the_same_rules_for_hosts_and_none_for_paths() {
    let allowed = AllowedOrigins::parse("http://127.0.0.1:9000").unwrap();
    let download = |text: &str| judge_download(text, &allowed).map(|d| (d.uri.to_string(), d.private_allowed));
    for (text, want) in [
        ("https://img.example.com/a%2Fb//c.png?x=1&y=%20#top", "https://img.example.com/a%2Fb//c.png?x=1&y=%20"),
        ("HTTPS://IMG.example.com?x", "https://img.example.com/?x"),
        ("https://img.example.com/a/../b", "https://img.example.com/b"),
        ("https://img.example.com/ü", "https://img.example.com/%C3%BC"),
    ] {
        assert_eq!(download(text), Ok((want.to_owned(), false)), "{text}");
    }
    assert_eq!(download("http://127.0.0.1:9000/x.png"), Ok(("http://127.0.0.1:9000/x.png".to_owned(), true)));
    for text in [
        "http://img.example.com/x.png",
        "http://169.254.169.254/latest/meta-data",
        "https://169.254.169.254/",
        "https://2852039166/",
        "https://localhost/x",
        "https://metadata.google.internal/",
        "https://user:pw@img.example.com/",
        "https://img.example.com\\@evil.example.org/",
        "https://127.0.0.1:9000/x",
        "http://127.0.0.1:9001/x",
        "file:///etc/passwd",
        "data:image/png;base64,AAAA",
        "img.example.com/x.png",
        "https://",
        "",
    ] {
        assert!(download(text).is_err(), "{text}");
    }
    let long = format!("https://img.example.com/{}", "a".repeat(limits::URL_BYTES));
    assert_eq!(download(&long), Err(Refusal::TooLong));
}
