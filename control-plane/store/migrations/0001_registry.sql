CREATE TABLE `blobs` (
	`digest` text PRIMARY KEY NOT NULL,
	`object_key` text NOT NULL,
	`size` integer NOT NULL,
	`created_at` integer NOT NULL,
	`touched_at` integer NOT NULL
);
--> statement-breakpoint
CREATE UNIQUE INDEX `blobs_object_key` ON `blobs` (`object_key`);--> statement-breakpoint
CREATE INDEX `blobs_touched` ON `blobs` (`touched_at`);--> statement-breakpoint
CREATE TABLE `doomed_objects` (
	`object_key` text PRIMARY KEY NOT NULL,
	`since` integer NOT NULL
);
--> statement-breakpoint
CREATE INDEX `doomed_objects_since` ON `doomed_objects` (`since`);--> statement-breakpoint
CREATE TABLE `manifest_edges` (
	`parent` text NOT NULL,
	`child` text NOT NULL,
	`position` integer NOT NULL,
	PRIMARY KEY(`parent`, `child`)
);
--> statement-breakpoint
CREATE INDEX `manifest_edges_child` ON `manifest_edges` (`child`);--> statement-breakpoint
CREATE TABLE `manifests` (
	`digest` text PRIMARY KEY NOT NULL,
	`media_type` text NOT NULL,
	`size` integer NOT NULL,
	`body` text,
	`object_key` text,
	`artifact_type` text,
	`annotations` text,
	`config` text,
	`architecture` text,
	`os` text,
	`variant` text,
	`image_size` integer DEFAULT 0 NOT NULL,
	`created_at` integer NOT NULL,
	`touched_at` integer NOT NULL
);
--> statement-breakpoint
CREATE INDEX `manifests_created` ON `manifests` (`created_at`,`digest`);--> statement-breakpoint
CREATE INDEX `manifests_touched` ON `manifests` (`touched_at`);--> statement-breakpoint
CREATE TABLE `repository_blobs` (
	`repository` text NOT NULL,
	`digest` text NOT NULL,
	`linked_at` integer NOT NULL,
	PRIMARY KEY(`repository`, `digest`)
);
--> statement-breakpoint
CREATE INDEX `repository_blobs_digest` ON `repository_blobs` (`digest`);--> statement-breakpoint
CREATE TABLE `repository_manifests` (
	`repository` text NOT NULL,
	`digest` text NOT NULL,
	`subject` text,
	`pushed_at` integer NOT NULL,
	PRIMARY KEY(`repository`, `digest`)
);
--> statement-breakpoint
CREATE INDEX `repository_manifests_digest` ON `repository_manifests` (`digest`);--> statement-breakpoint
CREATE INDEX `repository_manifests_subject` ON `repository_manifests` (`repository`,`subject`);--> statement-breakpoint
CREATE TABLE `uploads` (
	`id` text PRIMARY KEY NOT NULL,
	`repository` text,
	`object_key` text NOT NULL,
	`digest` text,
	`size` integer DEFAULT 0 NOT NULL,
	`writer_state` text,
	`digest_so_far` text,
	`claim` text,
	`claimed_at` integer DEFAULT 0 NOT NULL,
	`expires_at` integer NOT NULL
);
--> statement-breakpoint
CREATE INDEX `uploads_expires` ON `uploads` (`expires_at`);--> statement-breakpoint
CREATE INDEX `uploads_digest` ON `uploads` (`digest`);--> statement-breakpoint
ALTER TABLE `tokens` ADD `scopes` text;--> statement-breakpoint
INSERT INTO `manifests` (`digest`, `media_type`, `size`, `body`, `config`, `architecture`, `os`, `image_size`, `created_at`, `touched_at`)
SELECT `digest`, 'application/vnd.oci.image.manifest.v1+json', length(CAST(`manifest` AS blob)), `manifest`, `config`, `architecture`, `os`, `size`, `created_at`, `created_at` FROM `images`;
--> statement-breakpoint
INSERT OR IGNORE INTO `blobs` (`digest`, `object_key`, `size`, `created_at`, `touched_at`)
SELECT layer.value ->> 'digest', 'blobs/sha256/' || substr(layer.value ->> 'digest', 8), layer.value ->> 'size', `created_at`, `created_at`
FROM `images`, json_each(`manifest`, '$.layers') AS layer;
--> statement-breakpoint
INSERT OR IGNORE INTO `blobs` (`digest`, `object_key`, `size`, `created_at`, `touched_at`)
SELECT `manifest` -> '$.config' ->> 'digest', 'blobs/sha256/' || substr(`manifest` -> '$.config' ->> 'digest', 8), `manifest` -> '$.config' ->> 'size', `created_at`, `created_at`
FROM `images`;
--> statement-breakpoint
INSERT OR IGNORE INTO `manifest_edges` (`parent`, `child`, `position`)
SELECT `digest`, `manifest` -> '$.config' ->> 'digest', 0 FROM `images`
UNION ALL SELECT `digest`, layer.value ->> 'digest', layer.key + 1 FROM `images`, json_each(`manifest`, '$.layers') AS layer;
--> statement-breakpoint
INSERT OR IGNORE INTO `repository_manifests` (`repository`, `digest`, `pushed_at`) SELECT `repository`, `digest`, `updated_at` FROM `tags`;
--> statement-breakpoint
INSERT OR IGNORE INTO `repository_blobs` (`repository`, `digest`, `linked_at`)
SELECT `repository`, `child`, `pushed_at` FROM `repository_manifests` JOIN `manifest_edges` ON `parent` = `digest`;
