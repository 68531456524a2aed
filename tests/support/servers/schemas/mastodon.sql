-- Re-expressed from what is known of Mastodon's db/schema.rb (2025-12-17); not its own file.
CREATE TABLE accounts (
    id bigint PRIMARY KEY, username text NOT NULL, domain text, private_key text, public_key text, note text,
    uri text, url text, avatar_file_name text, avatar_updated_at timestamp, avatar_remote_url text,
    header_file_name text, header_updated_at timestamp, header_remote_url text, suspended_at timestamp,
    created_at timestamp NOT NULL);
CREATE TABLE users (id bigint PRIMARY KEY, email text, encrypted_password text, sign_up_ip inet, account_id bigint);
CREATE TABLE statuses (
    id bigint PRIMARY KEY, account_id bigint NOT NULL, uri text UNIQUE, url text, text text, spoiler_text text,
    visibility int NOT NULL DEFAULT 0, local boolean, deleted_at timestamp, created_at timestamp NOT NULL);
CREATE TABLE media_attachments (
    id bigint PRIMARY KEY, account_id bigint, status_id bigint, scheduled_status_id bigint, type int DEFAULT 0,
    file_file_name text, file_meta json, thumbnail_file_name text, remote_url text NOT NULL DEFAULT '', description text,
    created_at timestamp NOT NULL);
CREATE TABLE custom_emojis (
    id bigint PRIMARY KEY, shortcode text, domain text, image_file_name text, image_updated_at timestamp);
CREATE TABLE preview_cards (
    id bigint PRIMARY KEY, url text UNIQUE, title text, description text, image_file_name text, author_account_id bigint);
CREATE TABLE preview_cards_statuses (
    preview_card_id bigint NOT NULL, status_id bigint NOT NULL, url text, PRIMARY KEY (status_id, preview_card_id));

INSERT INTO accounts (id, username, domain, avatar_file_name, avatar_updated_at, header_file_name, created_at) VALUES
    (123456, 'ada', NULL, '0123456789abcdef.png', '2026-01-02 03:04:05', '1111111111111111.jpg', '2020-01-01'),
    (109000000000000007, 'eve', 'far.example', NULL, NULL, 'fedcba9876543210.jpg', '2023-01-01');
INSERT INTO statuses (id, account_id, uri, url, text, visibility, local, created_at) VALUES
    (109876543210987001, 123456, 'https://social.example/users/ada/statuses/109876543210987001', NULL, 'said', 0, true,
     '2026-02-03 04:05:06'),
    (109876543210987002, 109000000000000007, 'https://far.example/o/1', 'https://far.example/@eve/1', 'said', 3, false,
     '2026-02-03 04:05:07');
INSERT INTO media_attachments (id, account_id, status_id, file_file_name, thumbnail_file_name, created_at) VALUES
    (109876543210987654, 123456, 109876543210987001, 'aaaaaaaaaaaaaaaa.png', NULL, '2026-02-03 04:00:00'),
    (109876543210987655, 109000000000000007, 109876543210987002, NULL, 'bbbbbbbbbbbbbbbb.png', '2026-02-03 04:00:01'),
    (109876543210987656, 123456, NULL, 'cccccccccccccccc.mp4', NULL, '2026-02-03 04:00:02');
INSERT INTO custom_emojis VALUES (12345, 'party', 'far.example', 'dddddddddddddddd.png', '2026-02-03 04:00:03');
INSERT INTO preview_cards (id, url, image_file_name) VALUES
    (1234567, 'https://news.example/1', 'eeeeeeeeeeeeeeee.jpg'), (1234568, 'https://news.example/2', 'ffffffffffffffff.jpg');
INSERT INTO preview_cards_statuses VALUES (1234567, 109876543210987001), (1234567, 109876543210987002);
