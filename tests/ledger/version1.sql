BEGIN TRANSACTION;
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
	UNIQUE (request_id, seq, at, type)
);
INSERT INTO "flovia_events" VALUES(1,'payment.settled',1700000000.25,'req-owed',1,'/reports/{id}','GET','mock','mpp','100','usd','challenge-1','pay-1','did:example:payer','acct-1',200,12.5,'nightly',NULL);
INSERT INTO "flovia_events" VALUES(2,'payment.settled',1700000000.25,'req-due',1,'/reports/{id}','GET','mock','mpp','100','usd','challenge-1','pay-1','did:example:payer','acct-1',200,12.5,'nightly',NULL);
INSERT INTO "flovia_events" VALUES(3,'payment.settled',1700000000.25,'req-running',1,'/reports/{id}','GET','mock','mpp','100','usd','challenge-1','pay-1','did:example:payer','acct-1',200,12.5,'nightly',NULL);
INSERT INTO "flovia_events" VALUES(4,'payment.settled',1700000000.25,'req-delivered',1,'/reports/{id}','GET','mock','mpp','100','usd','challenge-1','pay-1','did:example:payer','acct-1',200,12.5,'nightly',NULL);
INSERT INTO "flovia_events" VALUES(5,'payment.delivered',1700000000.25,'req-delivered',2,'/reports/{id}','GET','mock','mpp','100','usd','challenge-1','pay-1','did:example:payer','acct-1',200,12.5,'nightly',NULL);
INSERT INTO "flovia_events" VALUES(6,'payment.settled',1700000000.25,'req-forgotten',1,'/reports/{id}','GET','mock','mpp','100','usd','challenge-1','pay-1','did:example:payer','acct-1',200,12.5,'nightly',NULL);
CREATE TABLE flovia_meta (
	name TEXT NOT NULL, 
	value TEXT NOT NULL, 
	PRIMARY KEY (name)
);
INSERT INTO "flovia_meta" VALUES('schema','1');
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
	PRIMARY KEY ("key")
);
INSERT INTO "flovia_payments" VALUES('realm.test|owed','settled',1,'fingerprint-1','pay-owed','100','usd','["2023-11-14T22:13:20Z",null,null,[],{}]',1,1700000060.0,1700604800.0,0,1700000000.0,1700000000.0);
INSERT INTO "flovia_payments" VALUES('realm.test|due','settled',1,'fingerprint-1','pay-due','100','usd','["2023-11-14T22:13:20Z",null,null,[],{}]',0,1700000015.0,1700604800.0,1,1700000000.0,1700000000.0);
INSERT INTO "flovia_payments" VALUES('realm.test|running','delivering',1,'fingerprint-1','pay-running','100','usd','["2023-11-14T22:13:20Z",null,null,[],{}]',1,1700000060.0,1700604800.0,0,1700000000.0,1700000000.0);
INSERT INTO "flovia_payments" VALUES('realm.test|delivered','delivered',1,'','pay-delivered','100','usd',NULL,1,1700000060.0,1700604800.0,0,1700000000.0,1700000000.0);
INSERT INTO "flovia_payments" VALUES('realm.test|parked','parked',1,'fingerprint-1',NULL,NULL,NULL,NULL,0,1700000015.0,1700000360.0,0,1700000000.0,1700000000.0);
INSERT INTO "flovia_payments" VALUES('realm.test|unpaid','issued',1,'fingerprint-1',NULL,NULL,NULL,NULL,0,1700000015.0,1700000360.0,0,1700000000.0,1700000000.0);
CREATE TABLE flovia_proofs (
	proof TEXT NOT NULL, 
	"key" TEXT NOT NULL, 
	at DOUBLE NOT NULL, 
	PRIMARY KEY (proof)
)
 WITHOUT ROWID

;
INSERT INTO "flovia_proofs" VALUES('mock|pay-delivered','realm.test|delivered',1700000000.0);
INSERT INTO "flovia_proofs" VALUES('mock|pay-due','realm.test|due',1700000000.0);
INSERT INTO "flovia_proofs" VALUES('mock|pay-forgotten','realm.test|forgotten',1700000000.0);
INSERT INTO "flovia_proofs" VALUES('mock|pay-owed','realm.test|owed',1700000000.0);
INSERT INTO "flovia_proofs" VALUES('mock|pay-running','realm.test|running',1700000000.0);
CREATE TABLE flovia_texts (
	namespace TEXT NOT NULL, 
	"key" TEXT NOT NULL, 
	value TEXT NOT NULL, 
	until DOUBLE NOT NULL, 
	PRIMARY KEY (namespace, "key")
)
 WITHOUT ROWID

;
INSERT INTO "flovia_texts" VALUES('nonces','a','one',2700000000.0);
CREATE INDEX flovia_payments_prune ON flovia_payments (state, keep_until);
CREATE INDEX flovia_events_at ON flovia_events (at);
CREATE INDEX flovia_events_challenge ON flovia_events (challenge_id);
CREATE INDEX flovia_texts_prune ON flovia_texts (until);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('flovia_events',6);
COMMIT;
