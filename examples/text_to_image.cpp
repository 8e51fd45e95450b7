// A picture from a prompt in a program of one's own:
//   text_to_image MODEL PROMPT picture.ppm
#include <easel/error.h>
#include <easel/pipeline.h>

#include <cstdio>
#include <fstream>

int main(int argc, char** argv) {
  if (argc != 4) return std::fprintf(stderr, "usage: text_to_image MODEL PROMPT picture.ppm\n"), 2;
  try {
    auto pipeline = easel::TextToImagePipeline::load(argv[1]);

    easel::TextToImageRequest request;
    request.prompt = argv[2];
    request.steps = 20;
    request.seed = 1;
    const easel::TextToImageResult result = pipeline.generate(request, [](const easel::StepProgress& progress) {
      std::fprintf(stderr, "\rstep %d of %d", progress.done, progress.total);
    });

    const easel::Picture& picture = result.pictures.front();
    std::ofstream file(argv[3], std::ios::binary);
    file << "P6\n" << picture.width << ' ' << picture.height << "\n255\n";
    file.write(reinterpret_cast<const char*>(picture.rgb.data()), static_cast<std::streamsize>(picture.rgb.size()));
    std::fprintf(stderr, "\n%s in %.2f s\n", argv[3], result.seconds.total);
    return file.flush() ? 0 : 1;
  } catch (const easel::Error& error) {
    std::fprintf(stderr, "text_to_image: %s\n", error.what());
    return easel::exit_status(error.code());
  }
}
