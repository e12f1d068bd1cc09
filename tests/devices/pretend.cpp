// Two pretended CUDA devices for a build of PyTorch without CUDA: enough for fake tensors to "lie" on them, with autograd, autocast and
// fused optimizers. Nothing is computed. Loaded with LD_PRELOAD, so that its answer to "which accelerator is there?" comes first.
#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>

#include <optional>

namespace {

constexpr c10::DeviceType kind = c10::DeviceType::CUDA;
constexpr c10::DeviceIndex count = 2;
thread_local c10::DeviceIndex current = 0;

c10::Stream default_stream(c10::Device device) {
  return c10::Stream(c10::Stream::DEFAULT, c10::Device(kind, device.index() < 0 ? current : device.index()));
}

}  // namespace

namespace c10::impl {

struct PretendedGuard final : NoOpDeviceGuardImpl<kind> {
  Device getDevice() const override { return Device(kind, current); }
  Device exchangeDevice(Device next) const override {
    const Device before(kind, current);
    if (next.index() >= 0) current = next.index();
    return before;
  }
  void setDevice(Device next) const override { exchangeDevice(next); }
  void uncheckedSetDevice(Device next) const noexcept override {
    if (next.index() >= 0) current = next.index();
  }
  DeviceIndex deviceCount() const noexcept override { return count; }

  Stream getStream(Device device) const noexcept override { return default_stream(device); }
  Stream getDefaultStream(Device device) const override { return default_stream(device); }
  Stream getNewStream(Device device, int) const override { return default_stream(device); }
  Stream exchangeStream(Stream stream) const noexcept override { return default_stream(stream.device()); }
  bool queryStream(const Stream&) const override { return true; }
  void synchronizeStream(const Stream&) const override {}

  void record(void** event, const Stream&, const DeviceIndex, const EventFlag) const override {
    static int any;
    *event = &any;
  }
  void block(void*, const Stream&) const override {}
  bool queryEvent(void*) const override { return true; }
  void destroyEvent(void*, const DeviceIndex) const noexcept override {}
};

C10_REGISTER_GUARD_IMPL(CUDA, PretendedGuard);

}  // namespace c10::impl

namespace at {

namespace accelerator {
std::optional<c10::DeviceType> getAccelerator(bool) { return kind; }
}  // namespace accelerator

struct CUDAHooks : CUDAHooksInterface {
  explicit CUDAHooks(CUDAHooksArgs) {}
  void init() const override {}
  bool hasCUDA() const override { return true; }
  bool hasPrimaryContext(DeviceIndex) const override { return true; }
  int getNumGPUs() const override { return count; }
};

REGISTER_CUDA_HOOKS(CUDAHooks);

}  // namespace at
