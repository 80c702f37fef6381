import { networkInterfaces } from 'node:os'

/** An IPv4 address of this machine that is not its loopback: containers reach what listens on it. */
export function ownAddress(): string {
  const found = Object.values(networkInterfaces())
    .flatMap(addresses => addresses ?? [])
    .find(({ family, internal }) => family === 'IPv4' && !internal)
  if (!found) throw new Error('This machine has no address besides its loopback.')
  return found.address
}
