//! Every limit of the gateway, in one place. Each is tested at the limit and one beyond.

/// Largest body of a data call (chat, completions, embeddings), in bytes. Lambda refuses 6 MB by itself.
pub const DATA_BODY_BYTES: usize = 4 << 20;
/// Largest body of an admin call, in bytes.
pub const ADMIN_BODY_BYTES: usize = 256 << 10;
/// Largest body of a tenant import, in bytes. Lambda refuses 6 MB of event by itself.
pub const IMPORT_BODY_BYTES: usize = 4 << 20;
/// Deepest nesting of JSON taken from anybody.
pub const JSON_DEPTH: usize = 128;
/// Largest encoded head, in bytes (DynamoDB items end at 400 KB).
pub const HEAD_BYTES: usize = 350 << 10;
/// Providers of one tenant.
pub const PROVIDERS: usize = 200;
/// Enabled models of one tenant.
pub const MODELS: usize = 1_000;
/// Rate limits of one tenant.
pub const RATE_LIMITS: usize = 500;
/// Policies of one tenant.
pub const POLICIES: usize = 500;
/// Bytes of a policy's subject.
pub const SUBJECT_BYTES: usize = 200;
/// Largest capacity and amount of a rate limit's bucket.
pub const BUCKET: u64 = 1_000_000_000_000;
/// Longest interval of a bucket, in milliseconds: 366 days.
pub const INTERVAL_MS: u64 = 366 * 86_400_000;
/// Buckets of one tenant that are remembered while they are not full.
pub const KEPT_BUCKETS: usize = 2 * RATE_LIMITS;
/// Debits of one tenant that are known again when they are said twice.
pub const SEEN_DEBITS: usize = 32;
/// Of what is left in a bucket, an isolate is given at most one part in so many ahead.
pub const SHARE_OF_LEFT: u64 = 32;
/// Capacity from which on an isolate may be given calls of a bucket ahead.
pub const AHEAD_REQUESTS: u64 = 1_000;
/// Of a bucket's capacity, an isolate is given at most one part in so many ahead.
pub const SHARE_AHEAD: u64 = 100;
/// Capacity from which on a bucket of tokens that is more than a quarter full is not asked for every call.
pub const AHEAD_TOKENS: u64 = 100_000;
/// How long calls that were given ahead are good, and how long a bucket is known to be far from empty, in milliseconds.
pub const AHEAD_MS: u64 = 2_000;
/// Longest time for which an isolate remembers that a bucket is empty, in milliseconds.
pub const SHUT_MS: u64 = 1_000;
/// What is told as the wait for a bucket that is never filled, in milliseconds.
pub const NEVER_MS: u64 = 3_600_000;
/// Debits that go along with one question; fewer than are known again.
pub const DEBITS_AT_ONCE: usize = SEEN_DEBITS / 2;
/// Debits of one tenant that wait in an isolate while its buckets cannot be reached.
pub const OWED_DEBITS: usize = 200;
/// Load balancers of one tenant.
pub const BALANCERS: usize = 100;
/// Models behind one load balancer.
pub const BACKENDS: usize = 64;
/// Largest quota of a model behind a load balancer, in calls a minute.
pub const QUOTA: u64 = 1_000_000;
/// Keys of one tenant.
pub const KEYS: usize = 5_000;
/// Characters of a tenant's, provider's or key's name.
pub const NAME_CHARS: usize = 128;
/// Characters of an alias.
pub const ALIAS_CHARS: usize = 200;
/// Bytes of a provider's own model id (Bedrock ARNs are long).
pub const MODEL_ID_BYTES: usize = 2_048;
/// Bytes of a credential value.
pub const CREDENTIAL_BYTES: usize = 16 << 10;
/// Bytes of a model's metadata, encoded.
pub const METADATA_BYTES: usize = 8 << 10;
/// Deepest nesting of a model's metadata: it is stored, and read back, inside of a document.
pub const METADATA_DEPTH: usize = 32;
/// Bytes of what a tenant says of a model's capabilities, encoded.
pub const CAPABILITIES_BYTES: usize = 4 << 10;
/// Most tokens that one call can have as input, and as output; a provider that reports more is mistaken.
pub const TOKENS: u64 = 1 << 29;
/// Highest price of a million tokens, in USD. With [`TOKENS`] it bounds what a call can cost (`account::price`).
pub const PRICE_USD: u64 = 10_000;
/// Bytes of what a tenant says of a model's price, encoded.
pub const PRICE_BYTES: usize = 2 << 10;
/// Tiers of a price, by the size of the input.
pub const PRICE_TIERS: usize = 8;
/// Bytes of a price book's version.
pub const PRICE_VERSION_BYTES: usize = 64;
/// Images of one request that are fetched for a provider that wants bytes.
pub const FETCHED_IMAGES: usize = 20;
/// Largest image that is fetched, in bytes (Bedrock takes 3.75 MB).
pub const FETCHED_IMAGE_BYTES: usize = 3_932_160;
/// Fetching one image, in milliseconds.
pub const FETCH_IMAGE_MS: u64 = 10_000;
/// Calls to a provider that run at once for one request.
pub const CALLS_AT_ONCE: usize = 4;
/// Bytes of a base URL.
pub const URL_BYTES: usize = 2_048;
/// Bytes of the Authorization header's token that are looked at.
pub const BEARER_BYTES: usize = 4_096;
/// Characters of an `Idempotency-Key`.
pub const IDEMPOTENCY_KEY_BYTES: usize = 255;
/// Tries of a creation of a key that another request makes at the same time.
pub const REPEAT_TRIES: u32 = 5;
/// Models that a key may be restricted to.
pub const KEY_MODELS: usize = 100;
/// Longest line of an upstream's event stream, in bytes.
pub const SSE_LINE_BYTES: usize = 1 << 20;
/// Largest event of an upstream's event stream, in bytes.
pub const SSE_EVENT_BYTES: usize = 4 << 20;
/// Headers of one frame of an AWS event stream, in bytes: what botocore takes.
pub const EVENT_STREAM_HEADER_BYTES: usize = 128 << 10;
/// Payload of one frame of an AWS event stream, in bytes. botocore takes 24 MiB; events of a chat are far smaller.
pub const EVENT_STREAM_PAYLOAD_BYTES: usize = 4 << 20;
/// Text of one block of a stream that is kept until the block ends, in bytes.
pub const KEPT_TEXT_BYTES: usize = 4 << 20;
/// Blocks of one stream that are open at once.
pub const OPEN_BLOCKS: usize = 128;
/// Choices of a streamed answer, and calls of each of them, in OpenAI's format.
pub const STREAMED_CALLS: usize = 128;
/// Bytes of a stream that are held back before its first content; more than this commits.
pub const HELD_BACK_BYTES: usize = 4 << 20;
/// Largest whole answer of an upstream, in bytes.
pub const UPSTREAM_BODY_BYTES: usize = 16 << 20;
/// Bytes of an upstream's error body that are looked at.
pub const UPSTREAM_ERROR_BYTES: usize = 64 << 10;
/// Bytes of a cleaned upstream message that are passed on.
pub const UPSTREAM_MESSAGE_BYTES: usize = 512;
/// Entries of `input` or `prompt` in one request, as OpenAI has it for embeddings.
pub const INPUTS: usize = 2_048;
/// Prompts of one request for a provider that takes one in each call.
pub const PROMPT_CALLS: usize = 100;
/// Longest `innererror` of Azure OpenAI that is passed on, in bytes.
pub const INNER_ERROR_BYTES: usize = 4 << 10;
/// Largest answer that is put together from vectors, in bytes.
pub const EMBED_ANSWER_BYTES: usize = 32 << 20;

/// Connecting to an upstream, in milliseconds.
pub const CONNECT_MS: u64 = 5_000;
/// From sending a streamed request to its first content, in milliseconds; four times that for models that think.
pub const FIRST_CONTENT_MS: u64 = 30_000;
/// From sending to the head and body of an answer that is not streamed, in milliseconds.
pub const WHOLE_ANSWER_MS: u64 = 300_000;
/// Between two events of a stream, in milliseconds.
pub const IDLE_MS: u64 = 60_000;
/// Longest request in all, in milliseconds.
pub const TOTAL_MS: u64 = 10 * 60_000;
/// After so long a stream without content is begun if no other target could take over, in milliseconds.
pub const HOLD_BACK_MS: u64 = 15_000;
/// Calls to providers for one request, failed ones included.
pub const ATTEMPTS: u32 = 3;
/// The same for a request that the client repeats.
pub const ATTEMPTS_OF_REPEAT: u32 = 2;
/// Longest wait that a client is asked for, in milliseconds (fault matrix U7).
pub const LONGEST_WAIT_MS: u64 = 60_000;
/// Targets, and aliases, whose state an isolate remembers.
pub const BOARD_TARGETS: usize = 4_000;
/// Targets of one tenant that isolates tell each other of.
pub const DIGEST_TARGETS: usize = 200;
/// About so many reports of a target's outcomes are made in half a minute.
pub const DIGEST_REPORTS: f64 = 30.0;
/// Tries of telling the others, when several tell at once.
pub const DIGEST_TRIES: u32 = 3;
/// Longest time for telling the others, in milliseconds.
pub const DIGEST_TELL_MS: u64 = 1_000;
/// How long what was told is kept, in milliseconds.
pub const DIGEST_KEPT_MS: u64 = 60 * 60_000;
/// Longest time that a first call waits for what others told, in milliseconds.
pub const DIGEST_WAIT_MS: u64 = 100;
/// How often an isolate reads what others tell of a tenant's targets, in milliseconds.
pub const DIGEST_READ_MS: u64 = 5_000;
/// Largest weight of an enabled model.
pub const WEIGHT: u64 = 1_000;
/// Largest number of a priority.
pub const PRIORITY: u64 = 100;
/// Silence after which a comment keeps a committed stream open, in milliseconds.
pub const KEEP_ALIVE_MS: u64 = 15_000;
/// Time kept back before the runtime's own deadline, in milliseconds.
pub const DEADLINE_RESERVE_MS: u64 = 5_000;

/// Age at which a cached head or key is confirmed beside the upstream call, in milliseconds.
pub const CONFIRM_SOON_MS: u64 = 15_000;
/// Age at which it is confirmed before use: the revocation bound, in milliseconds.
pub const CONFIRM_FIRST_MS: u64 = 30_000;
/// Age at which it is confirmed before a request fails for want of a target, in milliseconds.
pub const CONFIRM_FAILURE_MS: u64 = 1_000;
/// How long a published copy may serve while the store cannot be reached, in milliseconds.
pub const STALE_IF_ERROR_MS: u64 = 5 * 60_000;
/// While the store fails, how often one tenant's requests ask it again, in milliseconds.
pub const STORE_RETRY_MS: u64 = 1_000;
/// Age at which a cached credential is read again, in milliseconds.
pub const SECRET_FRESH_MS: u64 = 5 * 60_000;
/// Age at which a cached credential is used no more though its manager is down, in milliseconds.
pub const SECRET_HARD_MS: u64 = 15 * 60_000;
/// Age after which a half-made tenant name or an unused secret may be cleared, in milliseconds.
pub const ORPHAN_MS: u64 = 10 * 60_000;
/// Tenants kept in one isolate's cache.
pub const CACHED_TENANTS: usize = 1_000;
/// Keys kept in the cache per tenant.
pub const CACHED_KEYS: usize = 1_000;
/// Credentials kept in one isolate's cache.
pub const CACHED_SECRETS: usize = 2_000;
/// Tokens of providers kept in one isolate's cache.
pub const CACHED_TOKENS: usize = 1_000;
/// How long one request may be at fetching a token before another one does, in milliseconds.
pub const TOKEN_LEASE_MS: u64 = 10_000;
/// How often a request looks whether another one has fetched the token (or credential), in milliseconds.
pub const TOKEN_POLL_MS: u64 = 40;
/// Longest time for renewing a token that is still good, in milliseconds.
pub const TOKEN_RENEW_MS: u64 = 2_000;
/// After renewing failed, how long a token that is still good is used as it is, in milliseconds.
pub const TOKEN_RENEW_AGAIN_MS: u64 = 30_000;
/// How long all requests share the failure of a token service, in milliseconds.
pub const TOKEN_FAILED_MS: u64 = 1_000;
/// How long they share that it does not take the key, in milliseconds.
pub const TOKEN_REJECTED_MS: u64 = 5_000;
/// How often a token may be replaced because a provider refused it, in milliseconds.
pub const TOKEN_REJECT_AGAIN_MS: u64 = 10_000;
/// Largest answer of a token service, in bytes.
pub const TOKEN_ANSWER_BYTES: usize = 64 << 10;
/// Tries of a lost swap.
pub const SWAP_TRIES: u32 = 60;
/// Secrets managers of a deployment.
pub const MANAGERS: usize = 20;
/// Bytes of the name by which a tenant refers to a secret of its own (an ARN may have 2,048).
pub const RESOURCE_BYTES: usize = 2_048;
/// One call to a secrets manager, in milliseconds.
pub const MANAGER_MS: u64 = 4_000;
/// How long a request waits for a credential, in milliseconds.
pub const CREDENTIAL_WAIT_MS: u64 = 20_000;
/// Largest answer of a secrets manager, in bytes: a secret of AWS has 64 KiB at most, of IBM 1 MiB in whole.
pub const MANAGER_ANSWER_BYTES: usize = 1 << 20;

/// Books that the usage of one tenant is spread over.
pub const BOOKS: u8 = 4;
/// Rows of the ledger that wait in one isolate or process for their store; more are told to the log and lost.
pub const BACKLOG_ROWS: usize = 10_000;
/// How long rows of the ledger wait for others that can be written with them, on Workers and locally, in milliseconds.
pub const GATHER_MS: u64 = 50;
/// How long a writer has the rows that it took, in milliseconds; it may ask for more. Afterwards another one writes them.
pub const ROWS_TAKEN_MS: u64 = 5_000;
/// Rows that are written to the ledger in one call.
pub const LEDGER_WRITE_ROWS: usize = 500;
/// Age at which a row that is written counts as late: its minute may be rolled up already, in milliseconds.
pub const LATE_MS: u64 = 60_000;
/// After the end of a minute, when it is rolled up, in milliseconds. More than twice [`LATE_MS`]: clocks differ.
pub const SETTLED_MS: u64 = 150_000;
/// Age at which a row that could not be written is given up, in milliseconds: its minute could not be summed up anew.
pub const LATEST_MS: u64 = 24 * 3_600_000;
/// From writing a row to rolling it up, in milliseconds.
pub const ROLL_MS: u64 = SETTLED_MS + 60_000;
/// How often a book without new rows is looked at for entries that have ended, in milliseconds.
pub const IDLE_BOOK_MS: u64 = 7 * 86_400_000;
/// Entries of a book that are read in one call.
pub const LEDGER_PAGE: usize = 1_000;
/// Minutes with usage that one run rolls up in a book.
pub const ROLLED_MINUTES: u32 = 500;
/// Largest record of sums, in bytes.
pub const SUMS_BYTES: usize = 200 << 10;
/// How long rows are kept, in milliseconds.
pub const ROWS_KEPT_MS: u64 = 35 * 86_400_000;
/// How long sums of minutes are kept, in milliseconds.
pub const MINUTES_KEPT_MS: u64 = 3 * 86_400_000;
/// How long sums of hours are kept, in milliseconds.
pub const HOURS_KEPT_MS: u64 = 35 * 86_400_000;
/// How long sums of days are kept, in milliseconds.
pub const DAYS_KEPT_MS: u64 = 400 * 86_400_000;
/// Buckets in one page of usage.
pub const USAGE_BUCKETS: u64 = 100;
/// Results in one page of usage.
pub const USAGE_RESULTS: usize = 10_000;
