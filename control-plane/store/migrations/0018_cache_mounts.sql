CREATE TABLE `cache_mounts` (
	`key` text PRIMARY KEY NOT NULL,
	`mount_id` text NOT NULL,
	`architecture` text NOT NULL,
	`digest` text NOT NULL,
	`size` integer NOT NULL,
	`diff_id` text NOT NULL,
	`unpacked_bytes` integer NOT NULL,
	`build_id` text NOT NULL,
	`host_id` text NOT NULL,
	`saved_at` integer NOT NULL,
	`used_at` integer NOT NULL
);
--> statement-breakpoint
CREATE INDEX `cache_mounts_digest` ON `cache_mounts` (`digest`);--> statement-breakpoint
CREATE INDEX `cache_mounts_used` ON `cache_mounts` (`used_at`);