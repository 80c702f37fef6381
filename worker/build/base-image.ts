import type { ImageDefaults } from '#shared/domain/image.ts'
import { SlipwayError } from '#shared/errors.ts'
import { dockerfileFault, type Instruction } from './dockerfile.ts'

/** Docker would run them now, and an image without them is another one than its author meant. */
export function refuseTriggers({ OnBuild }: ImageDefaults, from: Instruction, file: string): void {
  if (!OnBuild?.length) return
  const why = 'The base image has ONBUILD instructions, which are not supported yet: use another one'
  throw dockerfileFault({ ...from, file }, why, 'build.instruction-unsupported')
}

export function refuseOtherPlatform(reference: string, platform: string | undefined, has: string, host: string): void {
  const wanted = platform?.split('/')[1] ?? host
  if (has === wanted && wanted === host) return
  const message =
    wanted === host
      ? `The image ${reference} is for ${has}, and this host is ${host}: use one for linux/${host}.`
      : `The platform ${platform} was asked for, and this host runs linux/${host}: build it on a host of that kind.`
  throw new SlipwayError('image.wrong-architecture', message, { facts: { image: has, host } })
}
