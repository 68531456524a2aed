-- Re-expressed from what is known of packages/backend/src/models (misskey-dev/misskey@0425f49); not its own file.
CREATE TABLE "user" (
    id varchar(32) PRIMARY KEY, username varchar(128) NOT NULL, "usernameLower" varchar(128), host varchar(128),
    "avatarId" varchar(32) UNIQUE, "bannerId" varchar(32) UNIQUE, token char(16) UNIQUE, uri varchar(512));
CREATE TABLE user_profile ("userId" varchar(32) PRIMARY KEY, email varchar(128), password varchar(128));
CREATE TABLE drive_file (
    id varchar(32) PRIMARY KEY, "userId" varchar(32), "userHost" varchar(128), md5 varchar(32), name varchar(256),
    comment varchar(512), url varchar(1024), "thumbnailUrl" varchar(512), "webpublicUrl" varchar(512),
    "accessKey" varchar(256) UNIQUE, "thumbnailAccessKey" varchar(256) UNIQUE, "webpublicAccessKey" varchar(256) UNIQUE,
    uri varchar(1024), "isLink" boolean DEFAULT false, "requestHeaders" jsonb, "requestIp" varchar(128));
CREATE INDEX ON drive_file ("userId");
CREATE TABLE note (
    id varchar(32) PRIMARY KEY, text text, cw varchar(512), "userId" varchar(32) NOT NULL, visibility varchar(16) NOT NULL,
    uri varchar(512) UNIQUE, url varchar(512), "fileIds" varchar(32)[] NOT NULL DEFAULT '{}');
CREATE INDEX "IDX_NOTE_FILE_IDS" ON note USING gin ("fileIds");
CREATE TABLE emoji (
    id varchar(32) PRIMARY KEY, name varchar(128), host varchar(128), "originalUrl" varchar(512), "publicUrl" varchar(512));

INSERT INTO "user" (id, username, host, "avatarId", "bannerId") VALUES
    ('9abcdefgaa', 'ada', NULL, '9bbbbbbbaa', NULL), ('9abcdefgbb', 'eve', 'far.example', NULL, '9bbbbbbbbb');
INSERT INTO drive_file (id, "userId", "userHost", url, "accessKey", "thumbnailAccessKey", "webpublicAccessKey") VALUES
    ('9bbbbbbbaa', '9abcdefgaa', NULL, 'https://social.example/files/0c1b2a39-4857-4665-9748-3f2e1d0c9b01',
     '0c1b2a39-4857-4665-9748-3f2e1d0c9b01', 'thumbnail-0c1b2a39-4857-4665-9748-3f2e1d0c9b01', NULL),
    ('9bbbbbbbbb', '9abcdefgbb', 'far.example', 'https://cdn.example/files/0c1b2a39-4857-4665-9748-3f2e1d0c9b02.png',
     'files/0c1b2a39-4857-4665-9748-3f2e1d0c9b02.png', NULL, 'files/webpublic-0c1b2a39-4857-4665-9748-3f2e1d0c9b02.webp'),
    ('9bbbbbbbcc', '9abcdefgaa', NULL, 'https://social.example/files/0c1b2a39-4857-4665-9748-3f2e1d0c9b03',
     '0c1b2a39-4857-4665-9748-3f2e1d0c9b03', NULL, NULL),
    ('9bbbbbbbdd', NULL, NULL, 'https://social.example/files/0c1b2a39-4857-4665-9748-3f2e1d0c9b04',
     '0c1b2a39-4857-4665-9748-3f2e1d0c9b04', NULL, NULL),
    ('9bbbbbbbee', '9abcdefgaa', NULL, 'https://social.example/files/0c1b2a39-4857-4665-9748-3f2e1d0c9b05',
     '0c1b2a39-4857-4665-9748-3f2e1d0c9b05', NULL, NULL);
INSERT INTO note (id, text, "userId", visibility, uri, url, "fileIds") VALUES
    ('9ccccccccc', 'said', '9abcdefgaa', 'public', NULL, NULL, '{9bbbbbbbzz,9bbbbbbbcc}'),
    ('9cccccccdd', 'said', '9abcdefgbb', 'specified', 'https://far.example/n/1', NULL, '{9bbbbbbbcc}');
INSERT INTO emoji VALUES
    ('9ddddddddd', 'party', NULL, 'x', 'https://social.example/files/0c1b2a39-4857-4665-9748-3f2e1d0c9b04');
