CREATE TABLE `commit_statuses` (
	`build_id` text PRIMARY KEY NOT NULL,
	`target` text NOT NULL,
	`state` text NOT NULL,
	`tries` integer DEFAULT 0 NOT NULL,
	`due_at` integer,
	`claimed_until` integer DEFAULT 0 NOT NULL,
	`error` text
);
--> statement-breakpoint
CREATE INDEX `commit_statuses_due` ON `commit_statuses` (`due_at`);--> statement-breakpoint
CREATE TABLE `hook_deliveries` (
	`hook_id` text NOT NULL,
	`key` text NOT NULL,
	`build_id` text NOT NULL,
	`created_at` integer NOT NULL,
	PRIMARY KEY(`hook_id`, `key`)
);
--> statement-breakpoint
CREATE INDEX `hook_deliveries_created` ON `hook_deliveries` (`created_at`);--> statement-breakpoint
CREATE TABLE `hooks` (
	`id` text PRIMARY KEY NOT NULL,
	`name` text NOT NULL,
	`spec` text NOT NULL,
	`sealed_secret` text NOT NULL,
	`created_at` integer NOT NULL
);
--> statement-breakpoint
CREATE UNIQUE INDEX `hooks_name` ON `hooks` (`name`);--> statement-breakpoint
ALTER TABLE `builds` ADD `observed_commit` text;--> statement-breakpoint
ALTER TABLE `builds` ADD `line` text;--> statement-breakpoint
ALTER TABLE `builds` ADD `trigger` text;--> statement-breakpoint
CREATE INDEX `builds_line` ON `builds` (`line`);--> statement-breakpoint
-- Dockerfiles were built from uploaded contexts alone.
UPDATE builds SET spec = json_remove(json_set(spec, '$.source', json_object('kind', 'context', 'contextId', spec ->> '$.contextId')), '$.contextId')
WHERE spec ->> '$.kind' = 'dockerfile' AND spec ->> '$.contextId' IS NOT NULL;
