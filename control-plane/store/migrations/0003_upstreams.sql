CREATE TABLE `upstream_blobs` (
	`repository` text NOT NULL,
	`digest` text NOT NULL,
	`source` text NOT NULL,
	`size` integer NOT NULL,
	PRIMARY KEY(`repository`, `digest`)
);
--> statement-breakpoint
CREATE INDEX `upstream_blobs_digest` ON `upstream_blobs` (`digest`);--> statement-breakpoint
CREATE TABLE `upstream_tags` (
	`repository` text NOT NULL,
	`tag` text NOT NULL,
	`checked_at` integer NOT NULL,
	PRIMARY KEY(`repository`, `tag`)
);
