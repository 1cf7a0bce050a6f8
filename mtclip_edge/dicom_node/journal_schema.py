"""The tables of the journal, and the version that says which."""

VERSION = 1
SCHEMA = f"""
CREATE TABLE film(uid TEXT PRIMARY KEY, class TEXT NOT NULL, syntax TEXT NOT NULL, caller TEXT NOT NULL,
  bytes INTEGER NOT NULL, state TEXT NOT NULL, received REAL NOT NULL, study TEXT, answer TEXT, why TEXT,
  done REAL) WITHOUT ROWID;
CREATE TABLE answer(id TEXT PRIMARY KEY, state TEXT NOT NULL, received REAL NOT NULL, due REAL NOT NULL,
  tries INTEGER NOT NULL DEFAULT 0, since REAL NOT NULL, bundle TEXT, why TEXT, done REAL,
  called TEXT, percentile REAL, lost INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;
CREATE TABLE object(uid TEXT PRIMARY KEY, answer TEXT NOT NULL, kind TEXT NOT NULL, class TEXT NOT NULL,
  state TEXT NOT NULL, tx TEXT) WITHOUT ROWID;
CREATE INDEX film_state ON film(state, received);
CREATE INDEX film_study ON film(study) WHERE study IS NOT NULL;
CREATE INDEX film_answer ON film(answer) WHERE answer IS NOT NULL;
CREATE INDEX answer_state ON answer(state, due);
CREATE INDEX object_answer ON object(answer);
CREATE INDEX object_tx ON object(tx) WHERE tx IS NOT NULL;
PRAGMA user_version={VERSION};
"""
