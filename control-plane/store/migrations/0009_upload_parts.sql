ALTER TABLE `uploads` ADD `parts_id` text;--> statement-breakpoint
ALTER TABLE `uploads` ADD `part_tags` text;