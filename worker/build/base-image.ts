import { SlipwayError } from '#shared/errors.ts'

export function refuseOtherPlatform(reference: string, platform: string | undefined, has: string, host: string): void {
  const wanted = platform?.split('/')[1] ?? host
  if (has === wanted && wanted === host) return
  const message =
    wanted === host
      ? `The image ${reference} is for ${has}, and this host is ${host}: use one for linux/${host}.`
      : `The platform ${platform} was asked for, and this host runs linux/${host}: build it on a host of that kind.`
  throw new SlipwayError('image.wrong-architecture', message, { facts: { image: has, host } })
}
