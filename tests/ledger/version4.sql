-- SQLite
CREATE TABLE flovia_answers (
	"key" TEXT NOT NULL,
	caller TEXT NOT NULL,
	status INTEGER NOT NULL,
	headers TEXT NOT NULL,
	body BLOB NOT NULL,
	until DOUBLE NOT NULL,
	PRIMARY KEY ("key")
);
CREATE INDEX flovia_answers_prune ON flovia_answers (until);
CREATE TABLE flovia_dead_letters (
	number INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
	sink TEXT NOT NULL,
	position BIGINT NOT NULL,
	event_id TEXT NOT NULL,
	body TEXT NOT NULL,
	reason TEXT NOT NULL,
	tries INTEGER NOT NULL,
	at DOUBLE NOT NULL,
	again BOOLEAN DEFAULT 0 NOT NULL,
	UNIQUE (sink, event_id)
);
CREATE INDEX flovia_dead_letters_order ON flovia_dead_letters (sink, number);
CREATE TABLE flovia_events (
	position INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
	type TEXT NOT NULL,
	at DOUBLE NOT NULL,
	request_id TEXT NOT NULL,
	seq INTEGER NOT NULL,
	endpoint TEXT NOT NULL,
	http_method TEXT NOT NULL,
	provider TEXT,
	rail TEXT,
	amount TEXT,
	currency TEXT,
	challenge_id TEXT,
	payment_id TEXT,
	payer TEXT,
	recipient TEXT,
	status INTEGER,
	latency_ms DOUBLE,
	workflow TEXT,
	problem TEXT,
	reason TEXT,
	operator TEXT,
	note TEXT,
	UNIQUE (request_id, seq, at, type)
);
CREATE INDEX flovia_events_at ON flovia_events (at);
CREATE INDEX flovia_events_challenge ON flovia_events (challenge_id);
CREATE TABLE flovia_meta (
	name TEXT NOT NULL,
	value TEXT NOT NULL,
	PRIMARY KEY (name)
);
CREATE TABLE flovia_payments (
	"key" TEXT NOT NULL,
	state TEXT NOT NULL,
	fence BIGINT NOT NULL,
	fingerprint TEXT NOT NULL,
	payment_id TEXT,
	amount TEXT,
	currency TEXT,
	record TEXT,
	deliveries INTEGER NOT NULL,
	lease_until DOUBLE NOT NULL,
	keep_until DOUBLE NOT NULL,
	refund_due BOOLEAN NOT NULL,
	created_at DOUBLE NOT NULL,
	updated_at DOUBLE NOT NULL,
	proof TEXT,
	first_fence BIGINT,
	PRIMARY KEY ("key")
);
CREATE INDEX flovia_payments_prune ON flovia_payments (state, keep_until);
CREATE INDEX flovia_payments_unsettled ON flovia_payments ((substr(substr("key", instr("key", '|') + 1), 1, instr(substr("key", instr("key", '|') + 1) || '|', '|') - 1))) WHERE proof IS NULL;
CREATE TABLE flovia_proofs (
	proof TEXT NOT NULL,
	"key" TEXT NOT NULL,
	at DOUBLE NOT NULL,
	amount TEXT,
	currency TEXT,
	PRIMARY KEY (proof)
)
 WITHOUT ROWID;
CREATE INDEX flovia_proofs_challenge ON flovia_proofs ((substr(substr("key", instr("key", '|') + 1), 1, instr(substr("key", instr("key", '|') + 1) || '|', '|') - 1)));
CREATE INDEX flovia_proofs_reference ON flovia_proofs ((substr(proof, instr(proof, '|') + 1)));
CREATE TABLE flovia_refunds (
	proof TEXT NOT NULL,
	"key" TEXT NOT NULL,
	payment_id TEXT NOT NULL,
	amount TEXT NOT NULL,
	paid TEXT NOT NULL,
	currency TEXT NOT NULL,
	nonce TEXT NOT NULL,
	state TEXT NOT NULL,
	fence BIGINT NOT NULL,
	lease_until DOUBLE NOT NULL,
	was_due BOOLEAN NOT NULL,
	refund_id TEXT,
	reason TEXT,
	created_at DOUBLE NOT NULL,
	updated_at DOUBLE NOT NULL,
	PRIMARY KEY (proof)
);
CREATE INDEX flovia_refunds_refund ON flovia_refunds (refund_id);
CREATE INDEX flovia_refunds_state ON flovia_refunds (state);
CREATE TABLE flovia_sinks (
	name TEXT NOT NULL,
	position BIGINT NOT NULL,
	fence BIGINT NOT NULL,
	holder TEXT NOT NULL,
	lease_until DOUBLE NOT NULL,
	problem TEXT NOT NULL,
	updated_at DOUBLE NOT NULL,
	PRIMARY KEY (name)
);
CREATE TABLE flovia_texts (
	namespace TEXT NOT NULL,
	"key" TEXT NOT NULL,
	value TEXT NOT NULL,
	until DOUBLE NOT NULL,
	PRIMARY KEY (namespace, "key")
)
 WITHOUT ROWID;
CREATE INDEX flovia_texts_handles ON flovia_texts ((replace("key", rtrim("key", replace("key", '|', '')), ''))) WHERE namespace IN ('awaited', 'waiting', 'issued');
CREATE INDEX flovia_texts_prune ON flovia_texts (until);
CREATE INDEX flovia_texts_references ON flovia_texts ("key") WHERE key >= 'reference ' AND key < 'reference!';
-- PostgreSQL
CREATE TABLE flovia_answers (
	key TEXT NOT NULL,
	caller TEXT NOT NULL,
	status INTEGER NOT NULL,
	headers TEXT NOT NULL,
	body BYTEA NOT NULL,
	until DOUBLE PRECISION NOT NULL,
	PRIMARY KEY (key)
);
CREATE INDEX flovia_answers_prune ON flovia_answers (until);
CREATE TABLE flovia_dead_letters (
	number BIGSERIAL NOT NULL,
	sink TEXT NOT NULL,
	position BIGINT NOT NULL,
	event_id TEXT NOT NULL,
	body TEXT NOT NULL,
	reason TEXT NOT NULL,
	tries INTEGER NOT NULL,
	at DOUBLE PRECISION NOT NULL,
	again BOOLEAN DEFAULT false NOT NULL,
	PRIMARY KEY (number),
	UNIQUE (sink, event_id)
);
CREATE INDEX flovia_dead_letters_order ON flovia_dead_letters (sink, number);
CREATE TABLE flovia_events (
	position BIGSERIAL NOT NULL,
	type TEXT NOT NULL,
	at DOUBLE PRECISION NOT NULL,
	request_id TEXT NOT NULL,
	seq INTEGER NOT NULL,
	endpoint TEXT NOT NULL,
	http_method TEXT NOT NULL,
	provider TEXT,
	rail TEXT,
	amount TEXT,
	currency TEXT,
	challenge_id TEXT,
	payment_id TEXT,
	payer TEXT,
	recipient TEXT,
	status INTEGER,
	latency_ms DOUBLE PRECISION,
	workflow TEXT,
	problem TEXT,
	reason TEXT,
	operator TEXT,
	note TEXT,
	PRIMARY KEY (position),
	UNIQUE (request_id, seq, at, type)
);
CREATE INDEX flovia_events_at ON flovia_events (at);
CREATE INDEX flovia_events_challenge ON flovia_events (challenge_id);
CREATE TABLE flovia_meta (
	name TEXT NOT NULL,
	value TEXT NOT NULL,
	PRIMARY KEY (name)
);
CREATE TABLE flovia_payments (
	key TEXT NOT NULL,
	state TEXT NOT NULL,
	fence BIGINT NOT NULL,
	fingerprint TEXT NOT NULL,
	payment_id TEXT,
	amount TEXT,
	currency TEXT,
	record TEXT,
	deliveries INTEGER NOT NULL,
	lease_until DOUBLE PRECISION NOT NULL,
	keep_until DOUBLE PRECISION NOT NULL,
	refund_due BOOLEAN NOT NULL,
	created_at DOUBLE PRECISION NOT NULL,
	updated_at DOUBLE PRECISION NOT NULL,
	proof TEXT,
	first_fence BIGINT,
	PRIMARY KEY (key)
);
CREATE INDEX flovia_payments_prune ON flovia_payments (state, keep_until);
CREATE INDEX flovia_payments_unsettled ON flovia_payments ((split_part(key, '|', 2))) WHERE proof IS NULL;
CREATE TABLE flovia_proofs (
	proof TEXT NOT NULL,
	key TEXT NOT NULL,
	at DOUBLE PRECISION NOT NULL,
	amount TEXT,
	currency TEXT,
	PRIMARY KEY (proof)
);
CREATE INDEX flovia_proofs_challenge ON flovia_proofs ((split_part(key, '|', 2)));
CREATE INDEX flovia_proofs_reference ON flovia_proofs ((substr(proof, strpos(proof, '|') + 1)));
CREATE TABLE flovia_refunds (
	proof TEXT NOT NULL,
	key TEXT NOT NULL,
	payment_id TEXT NOT NULL,
	amount TEXT NOT NULL,
	paid TEXT NOT NULL,
	currency TEXT NOT NULL,
	nonce TEXT NOT NULL,
	state TEXT NOT NULL,
	fence BIGINT NOT NULL,
	lease_until DOUBLE PRECISION NOT NULL,
	was_due BOOLEAN NOT NULL,
	refund_id TEXT,
	reason TEXT,
	created_at DOUBLE PRECISION NOT NULL,
	updated_at DOUBLE PRECISION NOT NULL,
	PRIMARY KEY (proof)
);
CREATE INDEX flovia_refunds_refund ON flovia_refunds (refund_id);
CREATE INDEX flovia_refunds_state ON flovia_refunds (state);
CREATE TABLE flovia_sinks (
	name TEXT NOT NULL,
	position BIGINT NOT NULL,
	fence BIGINT NOT NULL,
	holder TEXT NOT NULL,
	lease_until DOUBLE PRECISION NOT NULL,
	problem TEXT NOT NULL,
	updated_at DOUBLE PRECISION NOT NULL,
	PRIMARY KEY (name)
);
CREATE TABLE flovia_texts (
	namespace TEXT NOT NULL,
	key TEXT NOT NULL,
	value TEXT NOT NULL,
	until DOUBLE PRECISION NOT NULL,
	PRIMARY KEY (namespace, key)
);
CREATE INDEX flovia_texts_handles ON flovia_texts ((replace(key, rtrim(key, replace(key, '|', '')), ''))) WHERE namespace IN ('awaited', 'waiting', 'issued');
CREATE INDEX flovia_texts_prune ON flovia_texts (until);
CREATE INDEX flovia_texts_references ON flovia_texts (key) WHERE key >= 'reference ' AND key < 'reference!';
