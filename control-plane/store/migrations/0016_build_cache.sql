CREATE TABLE `cached_steps` (
	`key` text PRIMARY KEY NOT NULL,
	`result` text NOT NULL,
	`digest` text,
	`size` integer DEFAULT 0 NOT NULL,
	`after` text,
	`created_at` integer NOT NULL,
	`used_at` integer NOT NULL,
	`host_id` text NOT NULL
);
--> statement-breakpoint
CREATE INDEX `cached_steps_digest` ON `cached_steps` (`digest`,`size`,`used_at`);--> statement-breakpoint
CREATE INDEX `cached_steps_after` ON `cached_steps` (`after`,`used_at`);--> statement-breakpoint
CREATE INDEX `cached_steps_used` ON `cached_steps` (`used_at`);