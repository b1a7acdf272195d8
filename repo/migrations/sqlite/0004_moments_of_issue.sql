-- refresh_tokens.created_at is when the access token given out with it counts as issued; the latest of a device is
-- looked for whenever a token is made or revoked, among thousands of rows where a device refreshes often.
DROP INDEX refresh_tokens_device;
CREATE INDEX refresh_tokens_device ON refresh_tokens (user_id, device_id, created_at);
CREATE INDEX revocations_user ON revocations (user_id, device_id, issued_until);
