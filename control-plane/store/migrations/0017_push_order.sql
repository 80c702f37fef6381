CREATE TABLE `hook_pushes` (
	`hook_id` text NOT NULL,
	`ref` text NOT NULL,
	`position` integer NOT NULL,
	`before` text NOT NULL,
	`after` text NOT NULL,
	`is_built` integer NOT NULL,
	`created_at` integer NOT NULL,
	PRIMARY KEY(`hook_id`, `ref`, `position`)
);
--> statement-breakpoint
CREATE INDEX `hook_pushes_created` ON `hook_pushes` (`created_at`);