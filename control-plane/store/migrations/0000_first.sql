CREATE TABLE `build_logs` (
	`build_id` text NOT NULL,
	`first_line` integer NOT NULL,
	`lines` text NOT NULL,
	PRIMARY KEY(`build_id`, `first_line`)
);
--> statement-breakpoint
CREATE TABLE `builds` (
	`id` text PRIMARY KEY NOT NULL,
	`host_id` text NOT NULL,
	`generation` integer NOT NULL,
	`spec` text NOT NULL,
	`goal` text NOT NULL,
	`created_at` integer NOT NULL,
	`state` text DEFAULT 'queued' NOT NULL,
	`observed_started_at` integer,
	`observed_finished_at` integer,
	`observed_error` text,
	`image_digest` text,
	`log_lines` integer DEFAULT 0 NOT NULL
);
--> statement-breakpoint
CREATE INDEX `builds_host_generation` ON `builds` (`host_id`,`generation`);--> statement-breakpoint
CREATE INDEX `builds_created` ON `builds` (`created_at`,`id`);--> statement-breakpoint
CREATE TABLE `containers` (
	`id` text PRIMARY KEY NOT NULL,
	`name` text NOT NULL,
	`host_id` text NOT NULL,
	`generation` integer NOT NULL,
	`spec` text NOT NULL,
	`goal` text NOT NULL,
	`signal` text,
	`address_index` integer NOT NULL,
	`created_at` integer NOT NULL,
	`observed` text,
	`observed_generation` integer DEFAULT 0 NOT NULL,
	`observed_at` integer,
	`observed_restarts` integer DEFAULT 0 NOT NULL
);
--> statement-breakpoint
CREATE UNIQUE INDEX `containers_name` ON `containers` (`name`);--> statement-breakpoint
CREATE UNIQUE INDEX `containers_address` ON `containers` (`host_id`,`address_index`);--> statement-breakpoint
CREATE INDEX `containers_host_generation` ON `containers` (`host_id`,`generation`);--> statement-breakpoint
CREATE INDEX `containers_created` ON `containers` (`created_at`,`id`);--> statement-breakpoint
CREATE TABLE `contexts` (
	`id` text PRIMARY KEY NOT NULL,
	`created_at` integer NOT NULL,
	`expires_at` integer NOT NULL
);
--> statement-breakpoint
CREATE TABLE `events` (
	`seq` integer PRIMARY KEY AUTOINCREMENT NOT NULL,
	`at` integer NOT NULL,
	`type` text NOT NULL,
	`subject_id` text NOT NULL,
	`data` text DEFAULT '{}' NOT NULL
);
--> statement-breakpoint
CREATE TABLE `hosts` (
	`id` text PRIMARY KEY NOT NULL,
	`name` text NOT NULL,
	`subnet_index` integer NOT NULL,
	`generation` integer DEFAULT 0 NOT NULL,
	`created_at` integer NOT NULL,
	`observed_generation` integer DEFAULT 0 NOT NULL,
	`observed_facts` text,
	`observed_at` integer
);
--> statement-breakpoint
CREATE UNIQUE INDEX `hosts_name` ON `hosts` (`name`);--> statement-breakpoint
CREATE UNIQUE INDEX `hosts_subnet` ON `hosts` (`subnet_index`);--> statement-breakpoint
CREATE TABLE `idempotency_keys` (
	`token_id` text NOT NULL,
	`key` text NOT NULL,
	`request_hash` text NOT NULL,
	`subject_id` text NOT NULL,
	`created_at` integer NOT NULL,
	PRIMARY KEY(`token_id`, `key`)
);
--> statement-breakpoint
CREATE TABLE `images` (
	`digest` text PRIMARY KEY NOT NULL,
	`manifest` text NOT NULL,
	`config` text NOT NULL,
	`architecture` text NOT NULL,
	`os` text NOT NULL,
	`size` integer NOT NULL,
	`created_at` integer NOT NULL
);
--> statement-breakpoint
CREATE INDEX `images_created` ON `images` (`created_at`,`digest`);--> statement-breakpoint
CREATE TABLE `published_ports` (
	`host_id` text NOT NULL,
	`protocol` text NOT NULL,
	`host_port` integer NOT NULL,
	`container_id` text NOT NULL,
	PRIMARY KEY(`host_id`, `protocol`, `host_port`)
);
--> statement-breakpoint
CREATE INDEX `published_ports_container` ON `published_ports` (`container_id`);--> statement-breakpoint
CREATE TABLE `tags` (
	`repository` text NOT NULL,
	`tag` text NOT NULL,
	`digest` text NOT NULL,
	`updated_at` integer NOT NULL,
	PRIMARY KEY(`repository`, `tag`)
);
--> statement-breakpoint
CREATE INDEX `tags_digest` ON `tags` (`digest`);--> statement-breakpoint
CREATE TABLE `tokens` (
	`id` text PRIMARY KEY NOT NULL,
	`name` text NOT NULL,
	`hash` text NOT NULL,
	`host_id` text,
	`created_at` integer NOT NULL
);
--> statement-breakpoint
CREATE UNIQUE INDEX `tokens_hash` ON `tokens` (`hash`);