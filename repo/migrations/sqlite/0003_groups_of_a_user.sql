-- In how many groups a user is, kept with every membership change: counting the rows of each new member would
-- make adding members to a group slower the more groups they are in.
ALTER TABLE users ADD COLUMN group_count INTEGER NOT NULL DEFAULT 0;
UPDATE users SET group_count = g.groups_now
FROM (SELECT user_id, count(*) AS groups_now FROM group_members GROUP BY user_id) AS g
WHERE g.user_id = users.user_id;
