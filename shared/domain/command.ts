import type { ContainerSpec } from './container.ts'
import type { ImageDefaults } from './image.ts'

/**
 * What a container of an image runs, as Docker merges the two: an entrypoint of its own takes the image's command away with the
 * image's entrypoint. Empty: nobody names a command. Pure.
 */
export function commandOf(
  { entrypoint, command }: Pick<ContainerSpec, 'entrypoint' | 'command'>,
  image: Pick<ImageDefaults, 'Entrypoint' | 'Cmd'> | undefined,
): string[] {
  return [...(entrypoint ?? image?.Entrypoint ?? []), ...(command ?? (entrypoint ? [] : (image?.Cmd ?? [])))]
}
