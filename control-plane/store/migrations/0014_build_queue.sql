PRAGMA foreign_keys=OFF;--> statement-breakpoint
CREATE TABLE `__new_builds` (
	`id` text PRIMARY KEY NOT NULL,
	`host_id` text,
	`generation` integer NOT NULL,
	`spec` text NOT NULL,
	`limits` text DEFAULT '{}' NOT NULL,
	`placement` text DEFAULT '{}' NOT NULL,
	`lineage` text,
	`preferred_host_id` text,
	`attempts` integer DEFAULT 0 NOT NULL,
	`claimed_at` integer,
	`claim` text,
	`sealed_secrets` text,
	`goal` text NOT NULL,
	`created_at` integer NOT NULL,
	`state` text DEFAULT 'queued' NOT NULL,
	`observed_started_at` integer,
	`observed_finished_at` integer,
	`observed_error` text,
	`observed_commit` text,
	`image_digest` text,
	`observed_warnings` text,
	`updates` text,
	`log_lines` integer DEFAULT 0 NOT NULL,
	`line` text,
	`trigger` text
);
--> statement-breakpoint
INSERT INTO `__new_builds`("id", "host_id", "generation", "spec", "placement", "goal", "created_at", "state", "observed_started_at", "observed_finished_at", "observed_error", "observed_commit", "image_digest", "observed_warnings", "updates", "log_lines", "line", "trigger") SELECT "id", "host_id", "generation", "spec", CASE WHEN "spec" ->> 'kind' = 'container' THEN json_object('host', "host_id") ELSE '{}' END, "goal", "created_at", "state", "observed_started_at", "observed_finished_at", "observed_error", "observed_commit", "image_digest", "observed_warnings", "updates", "log_lines", "line", "trigger" FROM `builds`;--> statement-breakpoint
DROP TABLE `builds`;--> statement-breakpoint
ALTER TABLE `__new_builds` RENAME TO `builds`;--> statement-breakpoint
PRAGMA foreign_keys=ON;--> statement-breakpoint
CREATE INDEX `builds_line` ON `builds` (`line`);--> statement-breakpoint
CREATE INDEX `builds_lineage` ON `builds` (`lineage`,`created_at`);--> statement-breakpoint
CREATE INDEX `builds_open` ON `builds` (`created_at`) WHERE state in ('queued', 'running');--> statement-breakpoint
CREATE INDEX `builds_host_generation` ON `builds` (`host_id`,`generation`);--> statement-breakpoint
CREATE INDEX `builds_created` ON `builds` (`created_at`,`id`);--> statement-breakpoint
ALTER TABLE `hosts` ADD `observed_since` integer;