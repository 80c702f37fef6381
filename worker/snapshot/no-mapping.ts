import { SlipwayError } from '#shared/errors.ts'

/** Of a driver whose mounts have the ids of the disk. */
export function noMapping(driver: string): SlipwayError {
  const message = `userns: the storage driver ${driver} gives files no ids of a container's own: leave it out, or use overlay or erofs.`
  return new SlipwayError('host.unable', message)
}
