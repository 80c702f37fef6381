CREATE TABLE `retention_rules` (
	`position` integer PRIMARY KEY NOT NULL,
	`rule` text NOT NULL
);
--> statement-breakpoint
CREATE TABLE `sweep_positions` (
	`name` text PRIMARY KEY NOT NULL,
	`position` text NOT NULL
);
--> statement-breakpoint
ALTER TABLE `repository_manifests` ADD `untagged_at` integer;--> statement-breakpoint
CREATE INDEX `containers_image` ON `containers` ("spec" ->> 'imageDigest');--> statement-breakpoint
CREATE INDEX `tags_updated` ON `tags` (`repository`,`updated_at`,`tag`);